// A function in JavaScript: a handler by AWS Lambda's convention, and nothing else.

export async function handler(event, context) {
  const name = event.body?.name ?? "world";
  console.log(`greeting ${name}`);
  return { message: `Hello, ${name}!`, request_id: context.awsRequestId };
}
