//! `componentize <module.wasm> <component.wasm>`: encodes a core module, which carries its WIT types
//! in a custom section, as a component. Writes only what differs, so that file times tell changes.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [module, component] = arguments.as_slice() else {
        eprintln!("usage: componentize <module.wasm> <component.wasm>");
        return ExitCode::from(64);
    };
    match encode(module, component) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("componentize: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn encode(module: &PathBuf, component: &PathBuf) -> Result<(), String> {
    let name = module.file_name().unwrap_or_default().display();
    let bytes = std::fs::read(module).map_err(|e| format!("{name} cannot be read: {e}"))?;
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder
        .validate(true)
        .module(&bytes)
        .map_err(|e| format!("{name} carries no WIT types of a component: {e:#}"))?;
    let encoded = encoder.encode().map_err(|e| format!("{name} does not fit its WIT types: {e:#}"))?;
    if std::fs::read(component).is_ok_and(|old| old == encoded) {
        return Ok(());
    }
    let part = component.with_extension("wasm.part");
    std::fs::write(&part, encoded)
        .and_then(|()| std::fs::rename(&part, component))
        .map_err(|e| format!("the component of {name} cannot be written: {e}"))
}
