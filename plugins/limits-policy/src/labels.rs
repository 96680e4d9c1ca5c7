//! Labels that every function must carry.

use settings::Section;

use crate::bindings::dunnage::plugin::types::Finding;
use crate::finding;

pub(crate) struct RequiredLabel {
    name: String,
    /// None: any value but the empty one.
    values: Vec<String>,
}

impl RequiredLabel {
    pub(crate) fn read(settings: &Section) -> Vec<Self> {
        let required = |(name, values)| Self { name, values };
        settings.named_lists("required-labels").into_iter().map(required).collect()
    }

    /// What is wrong with it among the function's labels.
    pub(crate) fn refusal(&self, labels: &[(String, String)]) -> Option<Finding> {
        let name = &self.name;
        let value = labels.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value);
        let choice = self.values.join(", ");
        let message = match value {
            "" => format!("the label {name} is missing"),
            _ if self.values.is_empty() || self.values.iter().any(|v| v == value) => return None,
            other => format!("the label {name} is {other:?}, which is not allowed"),
        };
        let hint = match choice.as_str() {
            "" => format!("set labels.{name} in the deploy's config"),
            choice => format!("set labels.{name} in the deploy's config to one of: {choice}"),
        };
        Some(finding("required-label", message, &format!("labels.{name}"), hint))
    }
}
