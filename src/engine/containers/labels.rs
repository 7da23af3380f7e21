//! Reads registrations from the labels of containers.

use std::collections::BTreeMap;

use crate::model::{ContainerName, MAX_PORTS, Registration, Target};
use crate::plan::names::{COORDINATE_LABEL, DEPENDS_ON_LABEL, NAME_LABEL, TASKSPACE_LABEL};
use crate::podman::{ContainerSummary, PublishedPorts};

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labelled {
    /// The registrations.
    pub(super) containers: BTreeMap<ContainerName, Registration>,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

/// Reads the labels of all containers there are.
pub(super) fn read(containers: &[ContainerSummary]) -> Labelled {
    // In an order that does not change, so that of two with one name it is always the same that has it.
    let mut containers: Vec<&ContainerSummary> = containers.iter().collect();
    containers.sort_by_key(|container| container.name());
    let mut labelled = Labelled::default();
    for container in containers {
        let read = match wants_coordination(container) {
            Ok(false) => continue,
            Ok(true) => registration(container),
            Err(reason) => Err(reason),
        };
        let entered = read.and_then(|(name, registration, warning)| {
            labelled.warnings.extend(warning);
            match labelled.containers.get(&name) {
                None => Ok(labelled.containers.insert(name, registration)),
                Some(other) => {
                    let other = other.container.as_ref().unwrap_or(&name);
                    Err(format!("the container '{other}' is called '{name}' already"))
                }
            }
        });
        if let Err(reason) = entered {
            let name = container.name();
            let message =
                format!("the container '{name}' is not registered by its labels: {reason}");
            labelled.warnings.push(message);
        }
    }
    labelled
}

/// Whether a container is to be registered.
fn wants_coordination(container: &ContainerSummary) -> Result<bool, String> {
    let labels = &container.labels;
    if labels.contains_key(TASKSPACE_LABEL) {
        // The service's own: they are coordinated as parts of their taskspaces.
        return Ok(false);
    }
    match labels.get(COORDINATE_LABEL).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") if container.is_infra => Err(format!(
            "{COORDINATE_LABEL} is a label of the pod '{}', and belongs to its containers",
            container.pod_name
        )),
        Some("true") => Ok(true),
        Some(other) => Err(format!("{COORDINATE_LABEL} is {other:?}, neither true nor false")),
    }
}

/// Reads the labels of one container; with them may come a warning.
fn registration(
    container: &ContainerSummary,
) -> Result<(ContainerName, Registration, Option<String>), String> {
    let own: ContainerName = container.name().parse()?;
    let name = match container.labels.get(NAME_LABEL) {
        None => own.clone(),
        Some(text) => text.parse().map_err(|reason| format!("{NAME_LABEL}: {reason}"))?,
    };
    let depends_on = container.labels.get(DEPENDS_ON_LABEL).map_or("", String::as_str);
    let depends_on: Vec<Target> = depends_on
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(|reason| format!("{DEPENDS_ON_LABEL}: {reason}")))
        .collect::<Result<_, _>>()?;
    let mut ports: Vec<u16> = container.ports.iter().flat_map(on_loopback).collect();
    // Without those it can still be coordinated, and that is what its labels ask for.
    let warning = (ports.len() > MAX_PORTS).then(|| {
        let count = ports.len();
        format!("of the {count} ports of the container '{own}' the first {MAX_PORTS} are looked at")
    });
    ports.truncate(MAX_PORTS);
    let container = (own != name).then_some(own);
    let registration = Registration { container, ports, depends_on }.checked()?;
    Ok((name, registration, warning))
}

/// The ports that can be reached over TCP on the host's loopback.
fn on_loopback(published: &PublishedPorts) -> impl Iterator<Item = u16> + use<> {
    let PublishedPorts { host_ip, host_port, range, protocol } = published;
    let reached = ["", "0.0.0.0", "::", "127.0.0.1", "::1"].contains(&host_ip.as_str())
        && protocol.split(',').any(|protocol| protocol == "tcp");
    let range = if reached { *range } else { 0 };
    let first = *host_port;
    (0..range).filter_map(move |nth| first.checked_add(nth)).filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(name: &str, labels: &[(&str, &str)]) -> ContainerSummary {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        serde_json::from_value(json!({"Id": name, "Names": [name], "Labels": labels})).unwrap()
    }

    const YES: (&str, &str) = (COORDINATE_LABEL, "true");

    #[test]
    fn a_container_says_what_it_is_called_and_depends_on() {
        let mut api = container("shop_api_1", &[YES, (NAME_LABEL, "api")]);
        let published = |host_ip: &str, host_port, range, protocol: &str| PublishedPorts {
            host_ip: host_ip.to_owned(),
            host_port,
            range,
            protocol: protocol.to_owned(),
        };
        api.ports = vec![
            published("127.0.0.1", 8000, 2, "tcp"),
            published("", 9000, 1, "udp"),
            published("192.168.1.1", 9001, 1, "tcp"),
            published("::", 8000, 1, "tcp"),
            published("", 65_535, 2, "tcp,udp"),
        ];
        let depends_on = (DEPENDS_ON_LABEL, " api, redis,taskspace:x/dev,, ");
        let containers = [
            container("worker", &[YES, depends_on]),
            api,
            container("other", &[]),
            container("off", &[(COORDINATE_LABEL, "false")]),
            container("taskspace-x-dev", &[YES, (TASKSPACE_LABEL, "x")]),
        ];
        let labelled = read(&containers);
        let shown: BTreeMap<&str, serde_json::Value> = labelled
            .containers
            .iter()
            .map(|(name, registration)| (name.as_str(), json!(registration)))
            .collect();
        let expected = BTreeMap::from([
            ("api", json!({"container": "shop_api_1", "ports": [8000, 8001, 65_535]})),
            ("worker", json!({"depends_on": ["api", "redis", "taskspace:x/dev"]})),
        ]);
        assert_eq!((shown, labelled.warnings), (expected, vec![]));
    }

    #[test]
    fn bad_labels_are_told() {
        let mut infra = container("6ec-infra", &[YES]);
        (infra.is_infra, infra.pod_name) = (true, "shop".to_owned());
        let mut open = container("open", &[YES]);
        open.ports = vec![PublishedPorts {
            host_port: 2_000,
            range: 500,
            protocol: "tcp".to_owned(),
            ..PublishedPorts::default()
        }];
        let labelled = read(&[
            container("b", &[YES, (NAME_LABEL, "api")]),
            container("a", &[YES, (NAME_LABEL, "api")]),
            container("bad-name", &[YES, (NAME_LABEL, "a b")]),
            container("bad-target", &[YES, (DEPENDS_ON_LABEL, "taskspace:x/db")]),
            container("unsure", &[(COORDINATE_LABEL, "yes")]),
            infra,
            open,
        ]);
        let names: Vec<&str> = labelled.containers.keys().map(ContainerName::as_str).collect();
        assert_eq!(names, ["api", "open"]);
        assert_eq!(labelled.containers[&"open".parse().unwrap()].ports.len(), MAX_PORTS);
        insta::assert_snapshot!(labelled.warnings.join("\n"), @r#"
        the container '6ec-infra' is not registered by its labels: io.symposium.coordinate is a label of the pod 'shop', and belongs to its containers
        the container 'b' is not registered by its labels: the container 'a' is called 'api' already
        the container 'bad-name' is not registered by its labels: io.symposium.name: "a b" is not the name of a container: use up to 128 letters, digits, '_', '.' and '-', a letter or digit first
        the container 'bad-target' is not registered by its labels: io.symposium.depends-on: "db" is no container of a taskspace: dev or agent
        of the 500 ports of the container 'open' the first 100 are looked at
        the container 'unsure' is not registered by its labels: io.symposium.coordinate is "yes", neither true nor false
        "#);
    }
}
