"""A function in Python: a handler by AWS Lambda's convention, and nothing else."""


def handler(event, context):
    body = event.get("body") or {}
    name = body.get("name", "world") if isinstance(body, dict) else "world"
    print(f"greeting {name}")
    return {"message": f"Hello, {name}!", "request_id": context.aws_request_id}
