//! A function as a static program in an empty image: run once per call, it reads `request.json` and
//! prints its answer.

use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let event: Value = serde_json::from_slice(&std::fs::read("request.json")?)?;
    let name = event["body"]["name"].as_str().unwrap_or("world");
    eprintln!("greeting {name}");
    println!("{}", json!({ "message": format!("Hello, {name}!") }));
    Ok(())
}
