//! Who calls, as the service is told with every call that changes something.

use crate::model::Asker;

impl Asker {
    /// Returns what is said in headers.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("taskspace-agent", self.agent.as_ref().map(ToString::to_string)),
            ("taskspace-priority", self.priority.as_ref().map(ToString::to_string)),
            ("taskspace-lock", self.lock.as_ref().map(ToString::to_string)),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Hold, Priority};

    #[test]
    fn only_what_is_known_is_said() {
        assert!(Asker::default().headers().is_empty());
        let asker = Asker {
            agent: Some("agent-1".parse().unwrap()),
            priority: Some(Priority::MAX),
            lock: Some(Hold { operation: 12, token: 7 }),
        };
        let said = asker.headers();
        let said: Vec<_> = said.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(
            said,
            [
                ("taskspace-agent", "agent-1"),
                ("taskspace-priority", "10"),
                ("taskspace-lock", "12:7")
            ]
        );
    }
}
