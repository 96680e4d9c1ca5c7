//! What the operator allows.

use settings::{Pattern, Section};

use crate::caps::Caps;
use crate::labels::RequiredLabel;

/// Every rule that a finding may name.
pub(crate) const MEANINGS: [(&str, &str); 11] = [
    ("settings", "The settings are wrong."),
    ("memory-cap", "More memory than the operator's cap."),
    ("cpu-cap", "More CPU than the operator's cap."),
    ("timeout-cap", "A longer timeout than the operator's cap."),
    ("concurrency-cap", "More calls at once than the operator's cap."),
    ("limits-cap", "Several limits over the operator's caps, which were all lowered."),
    ("base-image", "The Dockerfile stands on an image that is not allowed."),
    ("required-label", "A label is missing, or has a value that is not allowed."),
    ("source-size", "The archive is larger than allowed."),
    ("method", "The function may not be called by this method."),
    ("body-size", "The body of the call is larger than allowed."),
];

pub(crate) struct Rules {
    pub(crate) deny_over_cap: bool,
    pub(crate) caps: Caps,
    /// None: any that is not forbidden.
    pub(crate) allowed_images: Vec<Pattern>,
    pub(crate) forbidden_images: Vec<Pattern>,
    pub(crate) labels: Vec<RequiredLabel>,
    pub(crate) max_source_bytes: Option<u64>,
    pub(crate) invoke: Invoke,
}

/// What is asked of each call.
#[derive(Default)]
pub(crate) struct Invoke {
    /// In upper case; none: any.
    pub(crate) methods: Vec<String>,
    pub(crate) max_body_bytes: Option<u64>,
    pub(crate) caps_by_label: Vec<LabelledCaps>,
}

/// Caps of the functions that carry a label.
pub(crate) struct LabelledCaps {
    pub(crate) label: String,
    pub(crate) value: String,
    pub(crate) caps: Caps,
}

impl Rules {
    pub(crate) fn read(settings: &Section) -> Self {
        Self {
            deny_over_cap: settings.word("over-cap", &["tighten", "deny"]) == "deny",
            caps: settings.table("caps", Caps::read).unwrap_or_default(),
            allowed_images: settings.patterns("allowed-base-images"),
            forbidden_images: settings.patterns("forbidden-base-images"),
            labels: RequiredLabel::read(settings),
            max_source_bytes: settings.number("max-source-bytes"),
            invoke: settings.table("invoke", Invoke::read).unwrap_or_default(),
        }
    }

    /// Whether there is anything to say about a deploy.
    pub(crate) fn govern_deploys(&self) -> bool {
        self.caps != Caps::default()
            || !self.allowed_images.is_empty()
            || !self.forbidden_images.is_empty()
            || !self.labels.is_empty()
            || self.max_source_bytes.is_some()
    }
}

impl Invoke {
    fn read(table: &Section) -> Self {
        Self {
            methods: table.texts("allowed-methods").iter().map(|m| m.to_ascii_uppercase()).collect(),
            max_body_bytes: table.number("max-body-bytes"),
            caps_by_label: table.tables("caps-by-label", LabelledCaps::read),
        }
    }

    /// Whether there is anything to say about a call.
    pub(crate) fn govern(&self) -> bool {
        !self.methods.is_empty() || self.max_body_bytes.is_some() || !self.caps_by_label.is_empty()
    }
}

impl LabelledCaps {
    fn read(table: &Section) -> Self {
        let text = |key| {
            table.text(key).unwrap_or_else(|| {
                table.mistake(key, "is missing", "say which label with which value these caps are for");
                String::new()
            })
        };
        Self { label: text("label"), value: text("value"), caps: Caps::read(table) }
    }
}
