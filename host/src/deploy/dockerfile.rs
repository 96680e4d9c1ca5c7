//! Dockerfile: what the host refuses in a plan, whatever plugin made it.

use crate::model::{Finding, Plan};

/// Every rule that the plan breaks.
pub fn check_plan(plan: &Plan) -> Result<(), Vec<Finding>> {
    let _ = plan;
    todo!()
}
