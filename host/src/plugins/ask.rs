//! The questions: one function for each that the host puts to a plugin.

use super::answer::{self, Description, Judged};
use super::bindings::dunnage::plugin::types as wit;
use super::bindings::exports::dunnage::admission::{on_deploy, on_invoke};
use super::bindings::exports::dunnage::build::dockerfile;
use super::bindings::exports::dunnage::response::post_process;
use super::call::{Broken, Guest};
use super::convert::{self, Verdict};
use super::edit;
use super::load::Loaded;
use super::registry::Active;
use super::{Failure, Language};
use crate::model::{Finding, Limits, Plan};

/// A plan, or what to fix in the source.
pub(super) type Planned = Result<Plan, Vec<Finding>>;

/// What a post-processor says of an answer.
pub(super) enum Said {
    Keep,
    Edit(edit::Checked),
    Withhold(Vec<Finding>),
}

/// Asks one function of one export: `$guest` is a fresh instance, `$export` where the function is.
macro_rules! question {
    ($export:expr, $function:ident ( $($argument:expr),* )) => {
        async |mut guest: Guest| {
            let Guest { store, instance } = &mut guest;
            let answer = match $export.load(&mut *store, instance) {
                Ok(export) => export.$function(store, $($argument),*).await,
                Err(error) => Err(error),
            };
            (guest, answer)
        }
    };
}

impl Loaded {
    pub(super) async fn describe(&self) -> Result<Description, Failure> {
        let ask = question!(self.points.guest, call_describe());
        let read = |described| Ok(("ok", answer::description(described)?));
        self.runtime.call(self.callee(), "describe", ask, read).await
    }

    /// The inner error is what the plugin finds wrong with the settings.
    pub(super) async fn check_settings(&self, settings: &str) -> Result<Result<(), Vec<Finding>>, Failure> {
        let ask = question!(self.points.guest, call_check_settings(settings));
        let read = |checked: Result<(), Vec<wit::Finding>>| match checked {
            Ok(()) => Ok(("ok", Ok(()))),
            Err(findings) => Ok(("refused", Err(answer::refusal(findings)?))),
        };
        self.runtime.call(self.callee(), "check-settings", ask, read).await
    }

    /// None for a plugin that builds nothing.
    pub(super) async fn languages(&self, settings: &str) -> Result<Vec<Language>, Failure> {
        let Some(export) = &self.points.dockerfile else {
            return Ok(Vec::new());
        };
        let ask = question!(export, call_languages(settings));
        let read = |said| Ok(("ok", answer::languages(own(said)?, &self.name)?));
        self.runtime.call(self.callee(), "languages", ask, read).await
    }
}

impl Active {
    pub(super) async fn generate(
        &self,
        export: &dockerfile::GuestIndices,
        call: &wit::Call,
        source: &dockerfile::Source,
    ) -> Result<Planned, Failure> {
        let settings = &*self.settings;
        let ask = question!(export, call_generate(settings, call, source));
        let read = |generated: Result<dockerfile::Plan, Vec<wit::Finding>>| match generated {
            Ok(mut plan) => {
                let notes = answer::plan_notes(&mut plan)?;
                Ok(("plan", Ok(convert::plan(plan, notes))))
            }
            Err(findings) => Ok(("refused", Err(answer::refusal(findings)?))),
        };
        self.loaded.runtime.call(self.loaded.callee(), "dockerfile", ask, read).await
    }

    pub(super) async fn review_deploy(
        &self,
        export: &on_deploy::GuestIndices,
        call: &wit::Call,
        by: &wit::Principal,
        what: &on_deploy::Deployment,
        stand: Limits,
    ) -> Result<Judged, Failure> {
        let settings = &*self.settings;
        let ask = question!(export, call_review(settings, call, by, what));
        let read = |said| self.judge(said, stand);
        self.loaded.runtime.call(self.loaded.callee(), "on-deploy", ask, read).await
    }

    pub(super) async fn review_invoke(
        &self,
        export: &on_invoke::GuestIndices,
        call: &wit::Call,
        by: Option<&wit::Principal>,
        what: &on_invoke::Invocation,
        stand: Limits,
    ) -> Result<Judged, Failure> {
        let settings = &*self.settings;
        let ask = question!(export, call_review(settings, call, by, what));
        let read = |said| self.judge(said, stand);
        self.loaded.runtime.call(self.loaded.callee(), "on-invoke", ask, read).await
    }

    pub(super) async fn process(
        &self,
        export: &post_process::GuestIndices,
        call: &wit::Call,
        function: &wit::Function,
        response: &post_process::Response,
    ) -> Result<Said, Failure> {
        let settings = &*self.settings;
        let ask = question!(export, call_process(settings, call, function, response));
        let read = |said| {
            Ok(match own(said)? {
                post_process::Outcome::Keep => ("keep", Said::Keep),
                post_process::Outcome::Edit(edit) => ("edit", Said::Edit(edit::check(edit, response)?)),
                post_process::Outcome::Withhold(findings) => {
                    ("withhold", Said::Withhold(answer::refusal(findings)?))
                }
            })
        };
        self.loaded.runtime.call(self.loaded.callee(), "post-process", ask, read).await
    }

    fn judge(&self, said: Result<Verdict, String>, stand: Limits) -> Result<(&'static str, Judged), Broken> {
        answer::verdict(own(said)?, &self.loaded.name, stand)
    }
}

/// An `err` where the interface has it for the plugin's own failure.
fn own<T>(said: Result<T, String>) -> Result<T, Broken> {
    said.map_err(|text| Broken::own_error(&text))
}
