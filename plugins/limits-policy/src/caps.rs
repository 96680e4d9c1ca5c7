//! Caps on limits: told from what is asked for, tightened or refused.

use settings::Section;

use crate::bindings::dunnage::admission::types::LimitsPatch;
use crate::bindings::dunnage::plugin::types::{Finding, Limits};
use crate::finding;

/// The most that a function may have; none: no cap of this policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caps {
    memory_mib: Option<u32>,
    cpu_millis: Option<u32>,
    timeout_ms: Option<u32>,
    concurrency: Option<u32>,
}

impl Caps {
    pub(crate) fn read(table: &Section) -> Self {
        let cap = |key| {
            let cap = table.number(key);
            if cap == Some(0) {
                table.mistake(key, "is 0, with which nothing runs", "write 1 or more");
            }
            cap
        };
        Self {
            memory_mib: cap("memory-mib"),
            cpu_millis: cap("cpu-millis"),
            timeout_ms: cap("timeout-ms"),
            concurrency: cap("concurrency"),
        }
    }

    /// The tighter of the two, each by itself.
    pub(crate) fn and(self, other: Caps) -> Caps {
        let least = |a: Option<u32>, b: Option<u32>| a.into_iter().chain(b).min();
        Caps {
            memory_mib: least(self.memory_mib, other.memory_mib),
            cpu_millis: least(self.cpu_millis, other.cpu_millis),
            timeout_ms: least(self.timeout_ms, other.timeout_ms),
            concurrency: least(self.concurrency, other.concurrency),
        }
    }

    /// One finding per limit that is over its cap.
    pub(crate) fn refusals(&self, limits: &Limits) -> Vec<Finding> {
        let refusal = |over: &Over| {
            let message =
                format!("{} of {} {} is over the cap of {}", over.what, over.asked, over.unit, over.cap);
            finding(over.rule, message, over.path, format!("ask for {} or less", over.cap))
        };
        self.over(limits).iter().map(refusal).collect()
    }

    /// Lowers what is over its cap.
    pub(crate) fn patch(&self, limits: &Limits) -> Option<LimitsPatch> {
        let over = self.over(limits);
        let [first, more @ ..] = over.as_slice() else { return None };
        let change = |o: &Over| format!("{} from {} to {} {}", o.what, o.asked, o.cap, o.unit);
        let changes = over.iter().map(change).collect::<Vec<_>>().join(", ");
        let (rule, path) = if more.is_empty() { (first.rule, first.path) } else { ("limits-cap", "limits") };
        let hint = "ask for no more than the caps, or ask the operator to raise them".to_owned();
        let lowered = |rule: &str| over.iter().find(|o| o.rule == rule).map(|o| o.cap);
        Some(LimitsPatch {
            memory_mib: lowered("memory-cap"),
            cpu_millis: lowered("cpu-cap"),
            timeout_ms: lowered("timeout-cap"),
            concurrency: lowered("concurrency-cap"),
            because: finding(rule, format!("lowered to the caps: {changes}"), path, hint),
        })
    }

    fn over(&self, limits: &Limits) -> Vec<Over> {
        let over = |rule, what, path, unit, asked, cap: Option<u32>| {
            let cap = cap.filter(|cap| asked > *cap)?;
            Some(Over { rule, what, path, unit, asked, cap })
        };
        let all = [
            over("memory-cap", "memory", "limits.memory-mib", "MiB", limits.memory_mib, self.memory_mib),
            over("cpu-cap", "CPU", "limits.cpu-millis", "millis", limits.cpu_millis, self.cpu_millis),
            over("timeout-cap", "the timeout", "limits.timeout-ms", "ms", limits.timeout_ms, self.timeout_ms),
            over(
                "concurrency-cap",
                "concurrency",
                "limits.concurrency",
                "calls",
                limits.concurrency,
                self.concurrency,
            ),
        ];
        all.into_iter().flatten().collect()
    }
}

/// A limit over its cap.
struct Over {
    rule: &'static str,
    what: &'static str,
    path: &'static str,
    unit: &'static str,
    asked: u32,
    cap: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { memory_mib: 128, cpu_millis: 1000, timeout_ms: 5000, concurrency: 10 };

    #[test]
    fn only_what_is_over_is_lowered() {
        let caps = Caps { memory_mib: Some(64), timeout_ms: Some(5000), ..Caps::default() };
        let patch = caps.patch(&LIMITS).unwrap();
        assert_eq!((patch.memory_mib, patch.timeout_ms, patch.cpu_millis), (Some(64), None, None));
        assert_eq!(patch.because.rule, "memory-cap");
        assert_eq!(patch.because.message, "lowered to the caps: memory from 128 to 64 MiB");
        let both = caps.and(Caps { timeout_ms: Some(100), memory_mib: Some(100), ..Caps::default() });
        let patch = both.patch(&LIMITS).unwrap();
        assert_eq!((patch.memory_mib, patch.timeout_ms), (Some(64), Some(100)));
        assert_eq!(patch.because.rule, "limits-cap");
        assert!(Caps { memory_mib: Some(128), ..Caps::default() }.patch(&LIMITS).is_none());
    }

    #[test]
    fn each_limit_over_its_cap_is_a_finding() {
        let caps = Caps { memory_mib: Some(64), concurrency: Some(1), ..Caps::default() };
        let rules: Vec<_> = caps.refusals(&LIMITS).into_iter().map(|f| f.rule).collect();
        assert_eq!(rules, ["memory-cap", "concurrency-cap"]);
    }
}
