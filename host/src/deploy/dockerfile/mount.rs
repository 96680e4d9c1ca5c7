//! Mount: which mounts a RUN may have.
//!
//! A mount whose source another step or build filled can hold links that older builders follow on
//! the host itself, so only the build context and caches without a source are mounted.

pub(super) struct Refused {
    pub(super) rule: &'static str,
    pub(super) message: &'static str,
    pub(super) hint: &'static str,
}

const KEYS: [&str; 14] = [
    "type",
    "target",
    "dst",
    "destination",
    "source",
    "src",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "ro",
    "readonly",
    "tmpfs-size",
];

pub(super) fn check(options: &str) -> Result<(), Refused> {
    let pairs: Vec<(&str, &str)> =
        options.split(',').map(|option| option.split_once('=').unwrap_or((option, ""))).collect();
    let of = |key: &str| pairs.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
    for (index, (key, value)) in pairs.iter().enumerate() {
        if *key == "from" {
            let hint = "copy what the step needs by COPY --from";
            return Err(Refused { rule: "dockerfile-mount-from", message: "a mount has a `from`", hint });
        }
        let doubled = pairs[..index].iter().any(|(before, _)| before == key);
        if doubled || !KEYS.contains(key) || value.contains("..") {
            let message = "a mount has an option that is unknown, there twice, or leads upwards";
            let hint = "use type, target, source, id, sharing, mode, uid, gid and ro";
            return Err(Refused { rule: "dockerfile-mount-option", message, hint });
        }
    }
    let has_source = of("source").or(of("src")).is_some();
    match of("type") {
        Some("bind") | None => Ok(()),
        Some("tmpfs") => Ok(()),
        Some("cache") if !has_source && plain(of("id").unwrap_or_default()) => Ok(()),
        Some("cache") => Err(Refused {
            rule: "dockerfile-mount-cache",
            message: "a cache has a source or an id with a slash",
            hint: "name caches by letters, digits, '-' and '_' alone",
        }),
        Some("secret" | "ssh") => Err(Refused {
            rule: "dockerfile-mount-secret",
            message: "a mount asks for a secret of the host",
            hint: "builds have no secrets; give them to the function as env",
        }),
        Some(_) => Err(Refused {
            rule: "dockerfile-mount-option",
            message: "a mount is of an unknown type",
            hint: "use type=bind, cache or tmpfs",
        }),
    }
}

fn plain(id: &str) -> bool {
    id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
