//! Fields of JSON: which are meant, and how they are hidden.

use serde_json::Value;

/// A dotted path in which `*` stands for any member or element.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let steps: Vec<String> = text.split('.').map(str::to_owned).collect();
        steps.iter().all(|step| !step.is_empty()).then_some(Self(steps))
    }

    /// Masks what the path leads to; how many values that were.
    pub(crate) fn mask(&self, value: &mut Value, mask: &str) -> usize {
        follow(&self.0, value, mask)
    }
}

fn follow(steps: &[String], value: &mut Value, mask: &str) -> usize {
    let Some((step, rest)) = steps.split_first() else { return hide(value, mask) };
    match value {
        Value::Object(members) if step == "*" => {
            members.values_mut().map(|member| follow(rest, member, mask)).sum()
        }
        Value::Object(members) => members.get_mut(step).map_or(0, |member| follow(rest, member, mask)),
        Value::Array(elements) if step == "*" => {
            elements.iter_mut().map(|element| follow(rest, element, mask)).sum()
        }
        Value::Array(elements) => {
            let chosen = step.parse().ok().and_then(|n: usize| elements.get_mut(n));
            chosen.map_or(0, |element| follow(rest, element, mask))
        }
        _ => 0,
    }
}

/// Masks the fields of these names, given in lower case, at any depth; how many that were.
pub(crate) fn mask_anywhere(names: &[String], value: &mut Value, mask: &str) -> usize {
    match value {
        Value::Object(members) => {
            let each = members.iter_mut().map(|(name, member)| {
                let hidden = names.contains(&name.to_lowercase());
                if hidden { hide(member, mask) } else { mask_anywhere(names, member, mask) }
            });
            each.sum()
        }
        Value::Array(elements) => elements.iter_mut().map(|e| mask_anywhere(names, e, mask)).sum(),
        _ => 0,
    }
}

/// Whatever it was, a table included: a mask that shows the shape shows too much.
fn hide(value: &mut Value, mask: &str) -> usize {
    if !value.is_null() {
        *value = Value::String(mask.to_owned());
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(path: &str, json: &str) -> String {
        let mut value = serde_json::from_str(json).unwrap();
        Path::parse(path).unwrap().mask(&mut value, "***");
        value.to_string()
    }

    #[test]
    fn paths_lead_through_tables_and_lists() {
        assert_eq!(
            masked("user.email", r#"{"user":{"email":"a@b","n":1}}"#),
            r#"{"user":{"email":"***","n":1}}"#
        );
        assert_eq!(
            masked("items.*.card", r#"{"items":[{"card":1},{"x":2},3]}"#),
            r#"{"items":[{"card":"***"},{"x":2},3]}"#
        );
        assert_eq!(
            masked("*.card", r#"{"a":{"card":{"n":1}},"b":null}"#),
            r#"{"a":{"card":"***"},"b":null}"#
        );
        assert_eq!(masked("rows.1", r#"{"rows":["a","b"]}"#), r#"{"rows":["a","***"]}"#);
        assert_eq!(masked("a.b", r#"{"a":null}"#), r#"{"a":null}"#);
        assert_eq!(Path::parse("a..b"), None);
        assert_eq!(Path::parse(""), None);
    }

    #[test]
    fn names_are_found_at_any_depth_in_any_case() {
        let mut value = serde_json::from_str(r#"[{"Password":"x","a":[{"PASSWORD":["y"]}]}]"#).unwrap();
        assert_eq!(mask_anywhere(&["password".to_owned()], &mut value, "-"), 2);
        assert_eq!(value.to_string(), r#"[{"Password":"-","a":[{"PASSWORD":"-"}]}]"#);
    }

    #[test]
    fn what_is_not_masked_keeps_its_order_and_its_digits() {
        let json = r#"{"z":1.0,"a":12345678901234567890123,"m":1e+5,"password":0,"b":-0.10}"#;
        let mut value: Value = serde_json::from_str(json).unwrap();
        mask_anywhere(&["password".to_owned()], &mut value, "***");
        assert_eq!(value.to_string(), json.replace(r#""password":0"#, r#""password":"***""#));
    }
}
