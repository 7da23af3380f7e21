//! Who calls, as the service is told with every call that changes something.

use crate::model::{AgentName, Hold, Priority};

/// Who calls, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// Who it is; the service says `user` for one that does not say.
    pub agent: Option<AgentName>,
    /// How urgent it is; the usual when not given.
    pub priority: Option<Priority>,
    /// The operation that is held, and under which something is to be done.
    pub lock: Option<Hold>,
}

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
