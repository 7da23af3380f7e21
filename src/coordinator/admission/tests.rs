//! What is let in, what waits, and why.

use super::*;

/// The containers and services of a shop, with what each depends on.
const EIGHT: [(&str, &[&str]); 8] = [
    ("api", &[]),
    ("webui", &["api"]),
    ("worker", &["api", "redis", "postgres"]),
    ("postgres", &[]),
    ("redis", &[]),
    ("voice-interaction-service", &["api"]),
    ("chat-service", &["api"]),
    ("prometheus", &[]),
];

const NOBODY: [u64; 0] = [];

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn dependencies(of: &[(&str, &[&str])]) -> Dependencies {
    let of = of.iter().map(|(name, on)| (target(name), on.iter().map(|on| target(on)).collect()));
    Dependencies::new(of).unwrap()
}

/// With the built-in rules over which `text` is laid.
fn admission(text: &str) -> Admission {
    let over = serde_yaml::from_str(text).unwrap();
    let mut admission =
        Admission::new(Arc::new(Coordination::built_in().merge(over).try_into().unwrap()));
    assert_eq!(admission.set_dependencies(dependencies(&EIGHT)), []);
    admission
}

/// From `restart api`, `restart api 8` (the priority) or `restart api under 1`; `arrived` is the
/// number of milliseconds, and the operation's.
fn ask(number: u64, text: &str) -> Ask {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (priority, under) = match words[2..] {
        [] => (None, None),
        [priority] => (Some(priority.parse().unwrap()), None),
        ["under", under] => (None, Some(under.parse().unwrap())),
        _ => panic!("{text}"),
    };
    Ask {
        id: number,
        class: words[0].parse().unwrap(),
        target: target(words[1]),
        priority: priority.unwrap_or_default(),
        arrived: number,
        under,
    }
}

/// Asks and tells the answer: `runs`, `runs beside 1`, `waits behind 1 2`, `waits for api`,
/// `refused by 1` or `full`.
fn answer(admission: &mut Admission, number: u64, text: &str) -> String {
    let names = |meetings: &[Meeting]| {
        meetings.iter().map(|meeting| format!(" {}", meeting.with)).collect::<String>()
    };
    match admission.ask(ask(number, text)) {
        Answer::Admitted { beside } if beside.is_empty() => "runs".to_owned(),
        Answer::Admitted { beside } => format!("runs beside{}", names(&beside)),
        Answer::Queued(Waits { behind, full: None }) => format!("waits behind{}", names(&behind)),
        Answer::Queued(Waits { full: Some(full), .. }) => format!("waits for {full}"),
        Answer::Refused(Refusal::Conflict(meeting)) => format!("refused by {}", meeting.with),
        Answer::Refused(Refusal::QueueFull { .. }) => "full".to_owned(),
    }
}

/// Asks for one after the other, numbered from 1, with what is expected.
fn all(admission: &mut Admission, asks: &[(&str, &str)]) {
    for ((text, expected), number) in asks.iter().zip(1..) {
        assert_eq!(answer(admission, number, text), *expected, "{number}: {text}");
    }
}

fn end(admission: &mut Admission, id: u64) -> Vec<u64> {
    admission.end(id).into_iter().map(|admitted| admitted.id).collect()
}

#[test]
fn two_restarts_of_a_container_are_refused_to_one_of_them() {
    let mut admission = admission("");
    all(&mut admission, &[("restart api", "runs"), ("restart api", "refused by 1")]);
    assert_eq!(end(&mut admission, 1), NOBODY);
    assert_eq!(answer(&mut admission, 3, "restart api"), "runs");
    // One that only waits will do just as well.
    assert_eq!(answer(&mut admission, 4, "restart redis"), "runs");
    assert_eq!(answer(&mut admission, 5, "config api"), "waits behind 3");
}

#[test]
fn a_restart_waits_for_a_change_of_the_configuration() {
    let mut admission = admission("");
    all(&mut admission, &[("config api", "runs"), ("restart api 8", "waits behind 1")]);
    assert_eq!(admission.waits_for(1), [2]);
    assert_eq!(answer(&mut admission, 3, "restart api"), "refused by 2");
    assert_eq!(end(&mut admission, 1), [2]);
    assert_eq!(admission.running().map(|ask| ask.id).collect::<Vec<_>>(), [2]);
    assert_eq!(admission.waits(2), None);
}

#[test]
fn reads_run_side_by_side_and_cautions_are_recorded() {
    let mut admission = admission("");
    all(
        &mut admission,
        &[
            ("read api", "runs"),
            ("read api", "runs"),
            ("read webui", "runs"),
            ("config redis", "runs"),
            ("config redis", "runs beside 4"),
            ("health redis", "runs"),
        ],
    );
    let Answer::Admitted { beside } = admission.ask(ask(7, "restart api")) else { panic!() };
    // The read on webui is disturbed, too.
    assert_eq!(
        beside,
        [(1, &[][..]), (2, &[]), (3, &["webui", "api"])].map(|(with, chain)| Meeting {
            with,
            severity: Severity::Medium,
            chain: chain.iter().map(|name| target(name)).collect(),
        })
    );
}

#[test]
fn what_disturbs_a_container_disturbs_those_that_depend_on_it() {
    let mut admission = admission("");
    assert_eq!(answer(&mut admission, 1, "restart api"), "runs");
    let Answer::Queued(waits) = admission.ask(ask(2, "config worker")) else { panic!() };
    let chain: Vec<String> = waits.behind[0].chain.iter().map(Target::to_string).collect();
    assert_eq!((waits.behind.len(), chain.join(" ")), (1, "worker api".to_owned()));
    for (number, text, expected) in [
        (3, "config webui", "waits behind 1"),
        (4, "restart prometheus", "runs"),
        // On one container it would be refused.
        (5, "restart chat-service", "waits behind 1"),
        // Worker waits, and depends on it.
        (6, "restart postgres", "waits behind 2"),
        (7, "config redis", "runs"),
    ] {
        assert_eq!(answer(&mut admission, number, text), expected, "{text}");
    }
    assert_eq!(admission.waits_for(1), [2, 3, 5]);
    assert_eq!(end(&mut admission, 1), [2, 3, 5]);
    assert_eq!(end(&mut admission, 2), [6]);
}

#[test]
fn what_does_not_depend_on_it_is_not_disturbed() {
    let mut admission = admission("");
    all(
        &mut admission,
        &[
            ("restart postgres", "runs"),
            ("config webui", "runs"),
            ("config api", "runs"),
            // A change of what depends on it is no matter to api, nor one of api to those.
            ("config worker", "waits behind 1"),
            ("config chat-service", "runs"),
        ],
    );
    // But as soon as api depends on postgres, webui does, too.
    let mut changed = EIGHT;
    changed[0].1 = &["postgres"];
    assert_eq!(admission.set_dependencies(dependencies(&changed)), []);
    let Answer::Queued(waits) = admission.ask(ask(6, "scale webui")) else { panic!() };
    assert_eq!(waits.behind[0].chain, ["webui", "api", "postgres"].map(target));
    // And those that wait only because of a dependency are let in when it is gone.
    let admitted = admission.set_dependencies(Dependencies::default());
    assert_eq!(admitted.iter().map(|admitted| admitted.id).collect::<Vec<_>>(), [4, 6]);
    assert_eq!(admitted[1].beside[0].with, 2);
}

#[test]
fn a_taskspace_and_its_containers_meet() {
    let mut admission = admission("");
    all(
        &mut admission,
        &[
            ("stop taskspace:a/dev", "runs"),
            ("stop taskspace:a/agent", "runs"),
            ("start taskspace:a", "waits behind 1 2"),
            ("stop taskspace:b", "runs"),
            ("config taskspace:a/dev", "waits behind 1 3"),
        ],
    );
    assert_eq!(end(&mut admission, 1), NOBODY);
    assert_eq!(end(&mut admission, 2), [3]);
}

#[test]
fn nothing_overtakes_what_it_conflicts_with() {
    let mut admission = admission("limits: {per_container: 10}");
    all(
        &mut admission,
        &[
            ("config api", "runs"),
            ("stop api", "waits behind 1"),
            ("config api", "waits behind 2"),
            // A look is not in the way of anybody.
            ("read api", "runs"),
            // More urgent, so it comes ahead of the stop, and goes along with what runs.
            ("config api 6", "runs beside 1"),
        ],
    );
    assert_eq!(end(&mut admission, 1), NOBODY);
    assert_eq!(end(&mut admission, 5), [2]);
    assert_eq!(end(&mut admission, 2), [3]);
}

#[test]
fn a_step_of_ageing_is_worth_a_step_of_priority() {
    let mut admission = admission("limits: {ageing: 10ms}");
    let mut queue = |texts: &[(u64, &str)]| {
        assert_eq!(answer(&mut admission, 1, "deploy api"), "runs");
        for (number, text) in texts {
            assert!(answer(&mut admission, *number, text).starts_with("waits"), "{text}");
        }
        let order: Vec<u64> = admission.waiting().map(|ask| ask.id).collect();
        for id in [&[1], &order[..]].concat() {
            admission.end(id);
        }
        order
    };
    assert_eq!(queue(&[(2, "stop api"), (3, "stop api"), (4, "stop api 6")]), [4, 2, 3]);
    assert_eq!(queue(&[(2, "stop api 1"), (91, "stop api 10"), (93, "stop api 10")]), [91, 2, 93]);
    // At the same turn the earlier number is ahead.
    assert_eq!(queue(&[(12, "stop api 6"), (2, "stop api")]), [2, 12]);
}

#[test]
fn a_container_has_room_for_so_many() {
    let mut admission = admission("");
    all(
        &mut admission,
        &[
            ("read taskspace:a", "runs"),
            ("read taskspace:a/dev", "runs"),
            ("read taskspace:a/dev", "runs"),
            ("read taskspace:a/dev", "waits for taskspace:a/dev"),
            ("read taskspace:a/agent", "runs"),
            ("read taskspace:a", "waits for taskspace:a/dev"),
            // One runs less than may, but one of those that wait counts.
            ("read taskspace:a/agent", "waits for taskspace:a/agent"),
        ],
    );
    assert_eq!(admission.waits_for(5), [7]);
    assert_eq!(admission.waits_for(1), [4, 6, 7]);
    assert_eq!(end(&mut admission, 6), [7]);
    assert_eq!(end(&mut admission, 2), [4]);
}

#[test]
fn as_many_wait_as_may() {
    let mut admission = admission("limits: {queue: 2, per_container: 10}");
    all(
        &mut admission,
        &[
            ("deploy api", "runs"),
            ("stop api", "waits behind 1"),
            ("stop api", "waits behind 1 2"),
            ("stop api", "full"),
            // Who does not have to wait is not concerned.
            ("read api", "runs beside 1"),
            ("deploy api", "refused by 1"),
        ],
    );
    assert_eq!(end(&mut admission, 3), NOBODY);
    assert_eq!(answer(&mut admission, 7, "stop api"), "waits behind 1 2");
    // What is taken over is not turned away.
    admission.requeue(ask(8, "stop api"));
    assert_eq!(admission.waiting().count(), 3);
}

#[test]
fn what_is_done_under_an_operation_does_not_meet_it() {
    let mut admission = admission("");
    all(
        &mut admission,
        &[
            ("config taskspace:a", "runs"),
            ("read taskspace:a", "runs"),
            ("restart taskspace:a", "waits behind 1"),
            ("read taskspace:a", "waits for taskspace:a/agent"),
            // The restart and the read wait for the first one, so it must not wait for them.
            ("restart taskspace:a/dev under 1", "runs beside 2"),
            // Among each other they are as any others.
            ("restart taskspace:a/dev under 1", "refused by 5"),
            ("config taskspace:a/dev under 1", "waits behind 5"),
            ("stop taskspace:a/dev under 1", "waits behind 5 7"),
            // Under what is done under it: neither counts.
            ("stop taskspace:a/dev under 5", "runs beside 2"),
        ],
    );
    assert_eq!(end(&mut admission, 9), NOBODY);
    assert_eq!(end(&mut admission, 5), [7]);
    assert_eq!(end(&mut admission, 7), [8]);
    assert_eq!(end(&mut admission, 8), NOBODY);
    assert_eq!(end(&mut admission, 1), [3, 4]);
}

#[test]
fn others_hold_back_what_is_done_under_an_operation() {
    let mut admission = admission("");
    all(
        &mut admission,
        &[
            ("config api", "runs"),
            ("config api", "runs beside 1"),
            ("restart api under 1", "waits behind 2"),
        ],
    );
    assert_eq!(end(&mut admission, 2), [3]);
}

#[test]
fn what_is_taken_over_is_not_asked_again() {
    let mut admission = admission("");
    admission.resume(ask(1, "restart api"));
    admission.resume(ask(2, "restart api"));
    admission.requeue(ask(4, "restart worker"));
    admission.requeue(ask(3, "config redis"));
    admission.requeue(ask(5, "config prometheus"));
    let ids = |admitted: Vec<Admitted>| admitted.iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(ids(admission.let_in()), [3, 5]);
    assert_eq!(ids(admission.end(1)), NOBODY);
    assert_eq!(ids(admission.end(2)), [4]);
    // Without being told to, it is done as soon as anything ends.
    admission.requeue(ask(6, "config webui"));
    assert_eq!(ids(admission.end(5)), [6]);
}

#[test]
fn the_same_number_again_takes_the_place_of_the_earlier_one() {
    let mut admission = admission("");
    all(&mut admission, &[("restart api", "runs"), ("config api", "waits behind 1")]);
    assert_eq!(answer(&mut admission, 1, "read redis"), "runs");
    let admitted = admission.let_in();
    assert_eq!(admitted, [Admitted { id: 2, beside: Vec::new() }]);
}

#[test]
fn what_is_not_known_ends_without_a_word() {
    let mut admission = admission("");
    assert_eq!(admission.end(7), []);
    assert_eq!(admission.waits(7), None);
    assert!(admission.waits_for(7).is_empty());
    // What it would be done under may have ended meanwhile.
    assert_eq!(answer(&mut admission, 8, "restart api under 7"), "runs");
}

#[test]
fn only_what_is_disruptive_goes_through_dependencies_and_not_worse_than_said() {
    let mut admission = admission("dependencies: {at_most: medium, disruptive: [config]}");
    all(
        &mut admission,
        &[
            ("restart api", "runs"),
            ("config webui", "runs"),
            ("config redis", "runs"),
            ("restart worker", "runs beside 3"),
        ],
    );
}

#[test]
fn two_that_would_wait_for_each_other_do_not() {
    let mut admission = admission("");
    let asks = [
        ("config api", "runs"),
        ("config api", "runs beside 1"),
        ("restart api under 1", "waits behind 2"),
        ("restart api under 2", "refused by 1"),
    ];
    all(&mut admission, &asks);
    assert_eq!(end(&mut admission, 2), [3]);
}
