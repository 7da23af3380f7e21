//! Registered containers on what was seen of them, without Podman.

use std::collections::HashMap;
use std::time::Duration;

use super::known::Look;
use super::labels::Labelled;
use super::state::{Place, Seen};
use super::*;
use crate::model::ContainerState;

const HEALTH: HealthSettings = HealthSettings {
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(1),
    retries: 2,
};

fn name(text: &str) -> ContainerName {
    text.parse().unwrap()
}

fn with_ports(ports: &[u16]) -> Registration {
    Registration { ports: ports.to_vec(), ..Registration::default() }
}

fn api(registrations: &[(&str, Registration)]) -> Containers {
    let api = registrations.iter().map(|(text, it)| (name(text), it.clone())).collect();
    Containers::new(Registrations::new(), api, HEALTH, Arc::new(EventBus::new()))
}

fn seen(id: &str, state: &str) -> Place {
    Place::Podman(Box::new(Seen { id: id.to_owned(), state: state.to_owned(), ..Seen::default() }))
}

fn look(found: &[(&str, Place)]) -> Look {
    let found: HashMap<String, Place> =
        found.iter().map(|(name, place)| ((*name).to_owned(), place.clone())).collect();
    Look::Podman { found, labels: Labelled::default() }
}

/// Returns what was told since the last time.
struct Told {
    seen: usize,
}

impl Told {
    fn news(&mut self, containers: &Containers) -> Vec<String> {
        let all = containers.bus.kept(0);
        let new = all.iter().skip(self.seen);
        let told = new.map(|event| match &event.body {
            EventBody::ContainerChanged { container, from, to, reason } => {
                let reason = reason.as_deref().map(|it| format!(": {it}")).unwrap_or_default();
                format!("{container} {from} → {to}{reason}")
            }
            EventBody::Warning { message } => message.clone(),
            other => other.name().to_owned(),
        });
        let told = told.collect();
        self.seen = all.len();
        told
    }
}

#[test]
fn changes_are_told_once() {
    let containers = api(&[("api", with_ports(&[]))]);
    let mut told = Told { seen: 0 };
    for (state, expected) in [
        ("running", vec!["api unknown → running"]),
        ("running", vec![]),
        ("stopping", vec!["api running → stopping"]),
        ("exited", vec!["api stopping → stopped"]),
    ] {
        containers.take(|known, now| known.take_look(look(&[("api", seen("1", state))]), now));
        assert_eq!(told.news(&containers), expected, "{state}");
    }
    let reason = || Look::Failed { reason: "gone".to_owned() };
    containers.take(|known, now| known.take_look(reason(), now));
    let expected = ["api stopped → unknown: Podman cannot be asked: gone"];
    assert_eq!(told.news(&containers), expected);
    containers.take(|known, now| known.take_look(look(&[]), now));
    assert!(told.news(&containers).is_empty());
    let reason = containers.all()[0].reason.clone().unwrap();
    assert_eq!(reason, "it is not in Podman, and there is no port to ask it at");
}

#[test]
fn ports_are_looked_at_so_often_before_one_that_runs_is_in_error() {
    let containers = api(&[("api", with_ports(&[80, 81]))]);
    let mut told = Told { seen: 0 };
    let round = |id: &str, silent: &[u16]| {
        let found = look(&[("api", seen(id, "running"))]);
        containers.take(|known, now| known.take_look(found, now));
        let rounds = containers.lock().rounds(false);
        for (name, ports) in rounds {
            let silent = silent.to_vec();
            containers.take(|known, now| known.take_silence(&name, &ports, silent, now));
        }
    };
    round("1", &[81]);
    assert_eq!(told.news(&containers), ["api unknown → running"]);
    round("1", &[]);
    round("1", &[80]);
    assert!(told.news(&containers).is_empty());
    round("1", &[81]);
    assert_eq!(told.news(&containers), ["api running → error: nothing answers on port 81"]);
    round("1", &[80, 81]);
    assert_eq!(told.news(&containers), [""; 0]);
    round("1", &[]);
    assert_eq!(told.news(&containers), ["api error → running"]);
    // Another container of the same name begins anew.
    round("1", &[80]);
    round("2", &[80]);
    assert!(told.news(&containers).is_empty());
}

#[test]
fn what_is_outside_of_podman_is_asked_at_its_ports_at_once_and_also_without_podman() {
    let containers = api(&[("web", with_ports(&[80])), ("db", with_ports(&[]))]);
    let mut told = Told { seen: 0 };
    assert!(containers.lock().rounds(true).is_empty());
    containers.take(|known, now| known.take_look(look(&[]), now));
    assert_eq!(told.news(&containers), [""; 0]);
    let answer = |silent: &[u16]| {
        let silent = silent.to_vec();
        containers.take(|known, now| known.take_silence(&name("web"), &[80], silent, now));
    };
    assert_eq!(containers.lock().rounds(true), [(name("web"), vec![80])]);
    answer(&[]);
    assert_eq!(told.news(&containers), ["web unknown → running"]);
    assert!(containers.lock().rounds(true).is_empty());
    let failed = Look::Failed { reason: "gone".to_owned() };
    containers.take(|known, now| known.take_look(failed, now));
    answer(&[80]);
    assert_eq!(told.news(&containers), ["web running → stopped"]);
    // An answer that is about other ports comes too late.
    containers.take(|known, now| known.take_silence(&name("web"), &[81], vec![], now));
    assert!(told.news(&containers).is_empty());
}

#[test]
fn an_operation_makes_it_what_it_is_until_it_is_over() {
    let containers = api(&[("api", with_ports(&[])), ("web", with_ports(&[80]))]);
    let mut told = Told { seen: 0 };
    let found = || look(&[("api", seen("1", "running"))]);
    containers.take(|known, now| known.take_look(found(), now));
    containers.take(|known, now| known.take_silence(&name("web"), &[80], vec![], now));
    told.news(&containers);
    for (class, state) in [
        (OperationClass::Restart, "restarting"),
        (OperationClass::Stop, "stopping"),
        (OperationClass::Start, "starting"),
        (OperationClass::Deploy, "restarting"),
    ] {
        containers.acting(&name("api"), Some(class));
        assert_eq!(told.news(&containers), [format!("api running → {state}")]);
        // Whatever is seen meanwhile.
        let exited = look(&[("api", seen("1", "exited"))]);
        containers.take(|known, now| known.take_look(exited, now));
        assert!(told.news(&containers).is_empty());
        containers.acting(&name("api"), None);
        assert!(told.news(&containers).is_empty());
        containers.take(|known, now| known.take_look(found(), now));
        assert_eq!(told.news(&containers), [format!("api {state} → running")]);
    }
    containers.acting(&name("api"), Some(OperationClass::Config));
    assert!(told.news(&containers).is_empty());
    containers.acting(&name("nobody"), Some(OperationClass::Stop));
    containers.acting(&name("nobody"), None);

    // One outside of Podman is asked again at once.
    containers.acting(&name("web"), Some(OperationClass::Restart));
    assert_eq!(told.news(&containers), ["web running → restarting"]);
    containers.acting(&name("web"), None);
    containers.take(|known, now| known.take_look(found(), now));
    assert_eq!(containers.lock().rounds(true), [(name("web"), vec![80])]);
    assert!(told.news(&containers).is_empty());
}

#[test]
fn a_change_of_what_is_registered_is_told_and_bad_labels_once() {
    let containers = api(&[("api", with_ports(&[80]))]);
    let mut changes = containers.registrations();
    assert_eq!(*changes.borrow_and_update().keys().collect::<Vec<_>>(), [&name("api")]);
    let mut told = Told { seen: 0 };
    let with_label = || Look::Podman {
        found: HashMap::from([("db".to_owned(), seen("1", "running"))]),
        labels: Labelled {
            containers: [(name("db"), with_ports(&[]))].into(),
            warnings: vec!["bad".to_owned()],
        },
    };
    containers.take(|known, now| known.take_look(with_label(), now));
    assert_eq!(told.news(&containers), ["bad", "db unknown → running"]);
    assert!(changes.has_changed().unwrap());
    assert_eq!(changes.borrow_and_update().len(), 2);
    containers.take(|known, now| known.take_look(with_label(), now));
    assert!(!changes.has_changed().unwrap() && told.news(&containers).is_empty());
    // Podman's end takes nobody's registration away.
    let failed = Look::Failed { reason: "gone".to_owned() };
    containers.take(|known, now| known.take_look(failed, now));
    assert!(!changes.has_changed().unwrap());
    // When the warning comes back, so does the reason for it.
    containers.take(|known, now| known.take_look(look(&[]), now));
    assert_eq!(changes.borrow_and_update().len(), 1);
    told.news(&containers);
    containers.take(|known, now| known.take_look(with_label(), now));
    assert!(told.news(&containers).contains(&"bad".to_owned()));
}

#[test]
fn a_registration_that_changes_keeps_what_is_known() {
    let containers = api(&[("web", with_ports(&[80]))]);
    containers.take(|known, now| known.take_look(look(&[("web", seen("1", "running"))]), now));
    let again = Registrations::from([(
        name("web"),
        Registration { depends_on: vec![name("api").into()], ..with_ports(&[80, 81]) },
    )]);
    containers.take(|known, now| known.take_api(&again, now));
    let [web] = &containers.all()[..] else { panic!("{:?}", containers.all()) };
    assert_eq!((web.state, web.ports.len()), (ContainerState::Running, 2));
    containers.take(|known, now| known.take_api(&Registrations::new(), now));
    assert!(containers.all().is_empty() && containers.registrations().borrow().is_empty());
}
