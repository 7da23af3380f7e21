//! Who asks for something, and how urgently: by options and by the environment.

use std::env;
use std::ffi::OsString;
use std::str::FromStr;

use clap::Args;

use super::usage;
use crate::model::{AgentName, Asker, Priority, Problem};

/// The variable with the name of the agent.
pub(super) const AGENT: &str = "TASKSPACE_AGENT";

/// The variable with the priority.
const PRIORITY: &str = "TASKSPACE_PRIORITY";

/// The variable with the operation that is held, and its token.
pub(super) const LOCK: &str = "TASKSPACE_LOCK";

/// For verbs that change something.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Asking {
    /// Ask in the name of this agent [env: TASKSPACE_AGENT] [default: user]
    #[arg(id = "as", long = "as", value_name = "NAME")]
    pub(super) agent: Option<AgentName>,
    /// Where it has to wait, go before what is less urgent: 1 to 10, the most urgent
    /// [env: TASKSPACE_PRIORITY] [default: 5]
    #[arg(long, value_name = "N")]
    pub(super) priority: Option<Priority>,
}

impl Asking {
    /// Says who asks; what no option says is looked up in the environment.
    pub(super) fn asker(&self) -> Result<Asker, Problem> {
        self.asker_in(|name| env::var_os(name))
    }

    fn asker_in(&self, lookup: impl Fn(&str) -> Option<OsString>) -> Result<Asker, Problem> {
        let agent = self.agent.clone().map_or_else(|| read(AGENT, &lookup), |it| Ok(Some(it)));
        let priority = self.priority.map_or_else(|| read(PRIORITY, &lookup), |it| Ok(Some(it)));
        Ok(Asker { agent: agent?, priority: priority?, lock: read(LOCK, &lookup)? })
    }
}

/// Reads a variable; one that is empty is not set.
fn read<T: FromStr<Err = String>>(
    name: &str,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<T>, Problem> {
    let Some(value) = lookup(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    value.to_string_lossy().parse().map(Some).map_err(|reason| {
        usage(format!("the variable {name}: {reason}")).hint(format!("correct {name}, or unset it"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;
    use crate::model::Hold;

    fn asker(asking: &Asking, variables: &[(&str, &str)]) -> Result<Asker, Problem> {
        asking.asker_in(|wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn an_option_goes_before_its_variable() {
        let variables = [(AGENT, "one"), (PRIORITY, "7"), (LOCK, "12:3")];
        let lock = Some(Hold { operation: 12, token: 3 });
        let by_variables = Asker {
            agent: Some("one".parse().unwrap()),
            priority: Some(7.try_into().unwrap()),
            lock,
        };
        assert_eq!(asker(&Asking::default(), &variables), Ok(by_variables.clone()));
        let asking = Asking { agent: Some("two".parse().unwrap()), priority: Some(Priority::MIN) };
        let by_options = Asker {
            agent: Some("two".parse().unwrap()),
            priority: Some(Priority::MIN),
            ..by_variables
        };
        assert_eq!(asker(&asking, &variables), Ok(by_options));
    }

    #[test]
    fn nothing_is_said_where_nothing_is_set() {
        assert_eq!(asker(&Asking::default(), &[(AGENT, ""), (LOCK, "")]), Ok(Asker::default()));
    }

    #[test]
    fn a_variable_that_cannot_be_meant_is_named() {
        for (name, value, reason) in [
            (AGENT, "a b", "\"a b\" is not the name of an agent"),
            (PRIORITY, "11", "the priority 11 is not between 1 and 10"),
            (LOCK, "12", "\"12\" is not an operation and its token"),
        ] {
            let problem = asker(&Asking::default(), &[(name, value)]).unwrap_err();
            let expected = format!("the variable {name}: {reason}");
            assert!(problem.detail.starts_with(&expected), "{problem}");
            assert_eq!(Exit::of(problem.code).code(), 2);
        }
    }
}
