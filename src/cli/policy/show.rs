//! `taskspace policy show`

use clap::Args;
use comfy_table::Cell;
use serde::Serialize;

use crate::cli::arguments::Json;
use crate::cli::output::{Output, Stop};
use crate::cli::table::{self, Column};
use crate::cli::{Exit, Outcome};
use crate::config::Paths;
use crate::host::registries::Registries;
use crate::model::{
    Code, HOST_ADDRESSES, HOST_NAME, NetworkPolicy, PolicyName, PortRange, Problem,
};
use crate::policy::network::{
    AddressRule, HostFacts, NameRule, Openness, PortsByProtocol, Resolved,
};

/// `taskspace policy show`
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The policy
    #[arg(value_name = "NAME")]
    name: PolicyName,
    #[command(flatten)]
    json: Json,
}

/// What is shown.
#[derive(Debug, Serialize)]
struct View {
    #[serde(flatten)]
    resolved: Resolved,
    /// What this host's clients use, where the policy names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    registries: Option<Registries>,
}

const COLUMNS: [Column; 4] = [
    Column::new("RULE"),
    Column::new("DESTINATION").at_least(12),
    Column::new("TCP").at_least(5),
    Column::new("UDP").at_least(5),
];

impl Show {
    pub(super) async fn run(self, paths: &Paths, output: Output) -> Outcome {
        let networks = super::settings(paths)?.networks;
        networks
            .policy(&self.name)
            .map_err(|error| Problem::new(Code::NotFound, error.to_string()))?;
        let wanted = NetworkPolicy::new(self.name);
        let unresolved =
            |error: &dyn std::fmt::Display| Problem::new(Code::SettingsInvalid, error.to_string());
        let registries = match networks.names_registries(&wanted) {
            Ok(true) => Some(Registries::read(&paths.clients).await),
            Ok(false) => None,
            Err(error) => return Err(Stop::from(unresolved(&error))),
        };
        let facts = HostFacts {
            addresses: Vec::new(),
            registries: registries.as_ref().map(Registries::destinations).unwrap_or_default(),
        };
        let resolved = networks.resolve(&wanted, &facts).map_err(|error| unresolved(&error))?;
        let view = View { resolved, registries };
        output.table(self.json.json, &view, |width| text(&view.resolved, width, output.colour))?;
        for warning in view.registries.iter().flat_map(|registries| &registries.warnings) {
            output.warn(warning);
        }
        Ok(Exit::Done)
    }
}

fn text(resolved: &Resolved, width: Option<u16>, colour: bool) -> String {
    let mut rows = Vec::new();
    rows.extend(resolved.denied_names.iter().map(|rule| name_row("deny", rule)));
    rows.extend(address_rows("deny", &resolved.denied));
    rows.extend(resolved.services.iter().map(|service| {
        row("allow", &format!("host:{}", service.name), &service.port.to_string(), "-")
    }));
    rows.extend(resolved.allowed_names.iter().map(|rule| name_row("allow", rule)));
    rows.extend(address_rows("allow", &resolved.allowed));
    let rest = match resolved.like {
        Openness::Isolated => "nothing goes out\n",
        Openness::Restricted if rows.is_empty() => "nothing is allowed, so nothing goes out\n",
        Openness::Restricted => "anything else is refused\n",
        Openness::Open => "anything else goes out, but not to this host and to\n",
    };
    let mut text = match rows.is_empty() {
        true => String::new(),
        false => table::render(&COLUMNS, rows, width, colour) + "\n",
    };
    text.push_str(rest);
    for range in &resolved.closed {
        text.push_str(&format!("  {range}\n"));
    }
    if !resolved.services.is_empty() {
        let [v4, v6] = HOST_ADDRESSES;
        text.push_str(&format!("services of this host are at {HOST_NAME} ({v4}, {v6})\n"));
    }
    text
}

fn row(rule: &str, destination: &str, tcp: &str, udp: &str) -> Vec<Cell> {
    [rule, destination, tcp, udp].map(Cell::new).to_vec()
}

fn name_row(rule: &str, names: &NameRule) -> Vec<Cell> {
    let ports = &names.ports;
    row(rule, &names.pattern.to_string(), &shown(&ports.tcp), &shown(&ports.udp))
}

/// Puts the ports of the same addresses on one line.
fn address_rows(rule: &str, rules: &[AddressRule]) -> Vec<Vec<Cell>> {
    let same =
        |one: &AddressRule, other: &AddressRule| (one.first, one.last) == (other.first, other.last);
    let line = |rules: &[AddressRule]| {
        let mut ports = PortsByProtocol::default();
        for rule in rules {
            ports = ports.with(&(*rule).into());
        }
        let addresses = rules.first().map(|rule| match rule.first == rule.last {
            true => rule.first.to_string(),
            false => format!("{}-{}", rule.first, rule.last),
        });
        row(rule, &addresses.unwrap_or_default(), &shown(&ports.tcp), &shown(&ports.udp))
    };
    rules.chunk_by(same).map(line).collect()
}

fn shown(ranges: &[PortRange]) -> String {
    match ranges {
        [] => "-".to_owned(),
        [PortRange::ALL] => "all".to_owned(),
        ranges => ranges.iter().map(PortRange::to_string).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn what_a_policy_does_is_a_table() {
        let networks = Settings::load(&[]).unwrap().networks;
        let facts = HostFacts::default();
        let show = |name: &str, allow: &[&str], deny: &[&str]| {
            let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            let wanted = NetworkPolicy {
                allow: list(allow),
                deny: list(deny),
                ..NetworkPolicy::new(name.parse().unwrap())
            };
            let resolved = networks.resolve(&wanted, &facts).unwrap();
            // The built-in lists change with the world.
            let resolved = Resolved {
                allowed_names: resolved
                    .allowed_names
                    .into_iter()
                    .filter(|rule| rule.pattern.to_string().ends_with("example.org"))
                    .collect(),
                ..resolved
            };
            text(&resolved, None, false)
        };
        let own =
            ["*.example.org:443", "192.0.2.0/24:22,80/tcp", "192.0.2.7", "[2001:db8::/32]:443"];
        insta::assert_snapshot!(show("restricted", &own, &["example.org", "198.51.100.7:25"]), @r#"
        RULE   DESTINATION                                        TCP    UDP
        deny   example.org                                        all    all
        deny   198.51.100.7                                       25     25
        allow  *.example.org                                      443    443
        allow  192.0.2.0-192.0.2.6                                22,80  -
        allow  192.0.2.7                                          all    all
        allow  192.0.2.8-192.0.2.255                              22,80  -
        allow  2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff  443    443

        anything else is refused
        "#);
        assert_eq!(show("isolated", &[], &[]), "nothing goes out\n");
        assert!(show("open", &[], &[]).contains("not to this host and to\n  0.0.0.0/8\n"));
    }
}
