//! Compares the variables of a container with those that were asked for.

use std::collections::BTreeMap;

use super::no_difference;
use crate::model::Problem;

/// The variables that Podman sets in each container, whatever it is asked for.
const PODMANS_OWN: [&str; 3] = ["HOME", "HOSTNAME", "TERM"];

/// Compares the variables of a container, each as `NAME=value`, with those that were asked for. Values are
/// not told: they may be secrets of the host.
///
/// # Errors
/// [`Code::PolicyUnenforceable`](crate::model::Code::PolicyUnenforceable) with the names of those that
/// differ.
pub(in super::super) fn environment(
    asked: &BTreeMap<String, String>,
    made: &[String],
) -> Result<(), Problem> {
    let mut differences = Vec::new();
    let made: BTreeMap<&str, &str> =
        made.iter().map(|entry| entry.split_once('=').unwrap_or((entry, ""))).collect();
    for (name, value) in &made {
        match asked.get(*name) {
            Some(asked) if asked == value => {}
            Some(_) => differences.push(format!("the variable {name} has another value (`env`)")),
            None if PODMANS_OWN.contains(name) => {}
            None => differences
                .push(format!("it has the variable {name} (`env`, `env_host`, `http_proxy`)")),
        }
    }
    let missing = asked.keys().filter(|name| !made.contains_key(name.as_str()));
    differences.extend(missing.map(|name| format!("it lacks the variable {name}")));
    no_difference(&differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_host_are_named_and_their_values_are_not() {
        let asked = [("A", "1"), ("B", "2")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        let found = |made: &[&str]| {
            let made: Vec<String> = made.iter().map(|entry| (*entry).to_owned()).collect();
            environment(&asked, &made).map_err(|problem| problem.detail)
        };
        assert_eq!(found(&["A=1", "B=2", "HOME=/root", "TERM=xterm"]), Ok(()));
        let error = found(&["A=1", "B=other", "TOKEN=secret"]).unwrap_err();
        assert!(error.contains("variable B has another value"), "{error}");
        assert!(error.contains("variable TOKEN") && !error.contains("secret"), "{error}");
        assert!(found(&["A=1"]).unwrap_err().contains("lacks the variable B"));
    }
}
