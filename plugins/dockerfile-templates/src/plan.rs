//! From a source and its language's template to a plan.

use crate::bindings::dunnage::plugin::types::{Call, Finding};
use crate::bindings::exports::dunnage::build::dockerfile::{File, Plan, Source};
use crate::entrypoint;
use crate::finding;
use crate::language::Language;
use crate::template::{self, Values};

/// The attribute by which the host passes the operator's base image.
const BASE_IMAGE: &str = "base-image";

pub(crate) fn generate(language: &Language, call: &Call, source: &Source) -> Result<Plan, Vec<Finding>> {
    let version = version(language, source).map_err(|refusal| vec![refusal])?;
    let mut values = values(language, version, source);
    values.extend(entrypoint(language, source, &values).map_err(|refusal| vec![refusal])?);
    if let Some(image) = base_image(language, call, &values).map_err(|refusal| vec![refusal])? {
        values.insert("base_image", image);
    }
    let dockerfile = template::render(&language.dockerfile, &values);
    let dockerfile = dockerfile.map_err(|name| vec![unsafe_value(name, "dockerfile")])?;
    let file = |(path, text): &(String, String)| File {
        path: path.clone(),
        text: text.clone(),
        executable: text.starts_with("#!"),
    };
    Ok(Plan {
        dockerfile,
        files: language.files.iter().map(file).collect(),
        ignore: language.ignore.clone(),
        build_args: Vec::new(),
        notes: notes(language, source),
    })
}

fn values(language: &Language, version: &str, source: &Source) -> Values {
    Values::from([
        ("contract", language.contract.to_owned()),
        ("language", language.name.clone()),
        ("name", source.function.name.clone()),
        ("version", version.to_owned()),
    ])
}

fn version<'a>(language: &'a Language, source: &Source) -> Result<&'a str, Finding> {
    let known = || language.versions.iter().map(String::as_str);
    let Some(wanted) = &source.language_version else { return Ok(known().next().unwrap_or_default()) };
    known().find(|version| version == wanted).ok_or_else(|| {
        let message = format!("{} {wanted:?} is not offered here", language.name);
        let hint = format!("use one of: {}", language.versions.join(", "));
        finding("version-unknown", message, "language-version", hint)
    })
}

/// The client's entrypoint, else the first default whose file is there, as values.
fn entrypoint(language: &Language, source: &Source, values: &Values) -> Result<Values, Finding> {
    let candidates = match &source.entrypoint {
        Some(wanted) => std::slice::from_ref(wanted),
        None => language.default_entrypoints.as_slice(),
    };
    let mut missing = None;
    for candidate in candidates {
        if let Err(reason) = language.entrypoint.check(candidate) {
            let message = format!("the entrypoint {candidate:?} {reason}");
            let hint = language.entrypoint.hint().to_owned();
            return Err(finding("entrypoint-invalid", message, "entrypoint", hint));
        }
        let parts = entrypoint::values(candidate);
        let paths = paths(language, values, &parts)?;
        if entrypoint::is_there(&paths, &source.files) {
            return Ok(parts);
        }
        missing.get_or_insert_with(|| absent(candidate, &paths, source));
    }
    Err(missing.expect("check-settings wants one default at least"))
}

/// The files of which the entrypoint needs one.
fn paths(language: &Language, values: &Values, parts: &Values) -> Result<Vec<String>, Finding> {
    let all: Values = values.clone().into_iter().chain(parts.clone()).collect();
    let path = |text: &String| template::render(text, &all).map_err(|name| unsafe_value(name, "entrypoint"));
    language.entrypoint_files.iter().map(path).collect()
}

fn absent(entrypoint: &str, paths: &[String], source: &Source) -> Finding {
    let message =
        format!("the entrypoint {entrypoint} needs {}, which is not in the archive", paths.join(" or "));
    let hint = match entrypoint::packed_folder(paths, &source.files) {
        Some(folder) => format!("it is in {folder}/: pack what is in that folder, not the folder itself"),
        None => "add the file, or name another entrypoint in the deploy's config".to_owned(),
    };
    finding("entrypoint-missing", message, "entrypoint", hint)
}

/// The operator's base image, else the language's.
fn base_image(language: &Language, call: &Call, values: &Values) -> Result<Option<String>, Finding> {
    let of_host = call.attributes.iter().find(|(name, _)| name == BASE_IMAGE);
    if let Some((_, json)) = of_host {
        let image: Option<String> = serde_json::from_str(json).ok();
        return match image.filter(|image| template::is_safe(image)) {
            Some(image) => Ok(Some(image)),
            None => Err(unsafe_value("base_image", "attributes.base-image")),
        };
    }
    let render =
        |text: &String| template::render(text, values).map_err(|name| unsafe_value(name, "base-image"));
    language.base_image.as_ref().map(render).transpose()
}

fn notes(language: &Language, source: &Source) -> Vec<Finding> {
    let shown = |(path, _): &&(String, String)| source.files.iter().any(|file| file.path == *path);
    let note = |(path, text): &(String, String)| Finding {
        rule: "note".to_owned(),
        message: text.clone(),
        path: Some(path.clone()),
        hint: None,
    };
    language.notes.iter().filter(shown).map(note).collect()
}

fn unsafe_value(placeholder: &str, path: &str) -> Finding {
    let message = format!("{placeholder} has no value that can stand in a Dockerfile");
    let hint = "letters, digits and . _ / : @ + - are allowed".to_owned();
    finding("value-invalid", message, path, hint)
}
