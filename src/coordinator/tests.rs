use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::model::{AgentName, KeptJob, OperationClass};

const LEASE: Duration = Duration::from_secs(30);

fn coordinator() -> Coordinator {
    let rules: Coordination = Coordination::built_in().try_into().unwrap();
    let mut it = Coordinator::new(Arc::new(rules), 0, Totals::default());
    it.set_tokens_aside(1_000);
    it
}

/// So many seconds after the beginning.
fn at(seconds: u64) -> Moment {
    Moment {
        ticks: Duration::from_secs(seconds),
        time: Timestamp::from_second(i64::try_from(seconds).unwrap() + 1_000_000).unwrap(),
        day: date(2026, 11, 21),
    }
}

fn operation(id: u64, class: OperationClass, target: &str, now: Moment) -> Operation {
    let mut operation = Operation::new(id, class.into(), now.time);
    operation.target = Some(target.parse().unwrap());
    operation.taskspace = operation.target.as_ref().and_then(Target::taskspace).cloned();
    operation.timeout_seconds = Some(300);
    operation.agent = "agent-1".parse::<AgentName>().unwrap();
    operation
}

/// Asks for an operation on `api` and returns how it is then.
fn ask_for(it: &mut Coordinator, id: u64, class: OperationClass, now: Moment) -> Operation {
    let changes = it.request(operation(id, class, "api", now), Holder::Lease(LEASE), None, now);
    last(&changes)
}

fn last(changes: &[Change]) -> Operation {
    match changes.last().unwrap() {
        Change::Requested(operation)
        | Change::Queued(operation)
        | Change::Admitted(operation)
        | Change::Renewed(operation)
        | Change::Ended { operation, .. } => operation.clone(),
    }
}

/// Returns which operations ended how, and which were let in, in this order.
fn told(changes: &[Change]) -> Vec<(u64, OperationState)> {
    let of = |change: &Change| match change {
        Change::Admitted(operation) | Change::Ended { operation, .. } => {
            Some((operation.id, operation.state))
        }
        Change::Requested(_) | Change::Queued(_) | Change::Renewed(_) => None,
    };
    changes.iter().filter_map(of).collect()
}

use OperationClass::{Config, Read, Restart};
use OperationState::{Cancelled, Done, Failed, Queued, Rejected, Running, TimedOut};

#[test]
fn the_second_of_two_restarts_is_refused_and_told_why() {
    let mut it = coordinator();
    assert_eq!(ask_for(&mut it, 1, Restart, at(0)).state, Running);
    let second = ask_for(&mut it, 2, Restart, at(1));
    assert_eq!(second.state, Rejected);
    let problem = second.problem.unwrap();
    assert_eq!(problem.code, Code::OperationConflict);
    let said = "restart of api is refused: in the way is operation 1, restart of api by agent-1 (critical)";
    assert_eq!(problem.detail, said);
    assert_eq!(it.count(), (1, 0));
}

#[test]
fn a_configuration_waits_for_the_restart_and_begins_with_its_end() {
    let mut it = coordinator();
    let restart = ask_for(&mut it, 1, Restart, at(0));
    let config = ask_for(&mut it, 2, Config, at(1));
    assert_eq!((config.state, config.behind[0].operation), (Queued, 1));
    let read = ask_for(&mut it, 3, Read, at(1));
    assert_eq!((read.state, read.cautions[0].operation), (Running, 1));
    assert_eq!(it.locks()[0].waiting, [2]);
    let changes = it.complete(1, restart.token, Ok(()), at(5)).unwrap();
    assert_eq!(told(&changes), [(1, Done), (2, Running)]);
    let config = it.current(2).unwrap();
    assert!(config.token > restart.token && config.behind.is_empty());
    assert_eq!(config.started, Some(at(5).time));
    let view = it.view(at(6));
    assert_eq!((view.active, view.queued, view.today.waited_seconds), (2, 0, 4.0));
    assert_eq!((view.today.requested, view.today.queued, view.today.done), (3, 1, 1));
}

#[test]
fn a_holder_that_is_silent_loses_what_it_holds_and_can_no_longer_act() {
    let mut it = coordinator();
    let token = ask_for(&mut it, 1, Restart, at(0)).token;
    ask_for(&mut it, 2, Config, at(1));
    assert_eq!(it.deadline(), Some(at(30).ticks));
    it.renew(1, token, at(20)).unwrap();
    // The one that waits is silent, too.
    assert_eq!(it.deadline(), Some(at(31).ticks));
    assert_eq!(told(&it.expire(at(31))), [(2, Cancelled)]);
    assert_eq!(it.expire(at(49)), []);
    let changes = it.expire(at(50));
    assert_eq!(told(&changes), [(1, Failed)]);
    assert_eq!(last(&changes).problem.unwrap().code, Code::LeaseLost);
    // Another one gets a greater token, and the first cannot end what that one holds.
    let next = ask_for(&mut it, 3, Restart, at(51)).token;
    assert!(next > token);
    assert_eq!(it.renew(1, token, at(52)).unwrap_err().code, Code::LeaseLost);
    assert_eq!(it.complete(3, token, Ok(()), at(52)).unwrap_err().code, Code::LeaseLost);
    assert_eq!(it.complete(3, None, Ok(()), at(52)).unwrap_err().code, Code::LeaseLost);
    assert!(it.complete(3, next, Ok(()), at(52)).is_ok());
    assert_eq!(it.deadline(), None);
}

#[test]
fn what_takes_too_long_is_ended_although_its_holder_is_there() {
    let mut it = coordinator();
    let token = ask_for(&mut it, 1, Restart, at(0)).token;
    ask_for(&mut it, 2, Config, at(1));
    it.connect(1, token, at(1)).unwrap();
    it.connect(2, None, at(1)).unwrap();
    assert_eq!(it.deadline(), Some(at(300).ticks));
    assert_eq!(it.expire(at(299)), []);
    let changes = it.expire(at(300));
    assert_eq!(told(&changes), [(1, TimedOut), (2, Running)]);
    // Its time counts from its own beginning.
    assert_eq!(it.deadline(), Some(at(600).ticks));
}

#[test]
fn a_connection_holds_and_its_end_lets_go_unless_there_is_a_later_one() {
    let mut it = coordinator();
    let token = ask_for(&mut it, 1, Restart, at(0)).token;
    let (first, _) = it.connect(1, token, at(0)).unwrap();
    assert!(it.current(1).unwrap().lease.unwrap().expires.is_none());
    let (second, _) = it.connect(1, token, at(1)).unwrap();
    assert_eq!(it.leave(1, first, at(2)), []);
    it.disconnect(1, first, at(2));
    assert_eq!(it.deadline(), Some(at(300).ticks));
    // The service ends: from now on the lease counts.
    it.disconnect(1, second, at(100));
    assert_eq!(it.deadline(), Some(at(130).ticks));
    let (third, _) = it.connect(1, token, at(110)).unwrap();
    assert!(it.connect(1, None, at(110)).is_err());
    let waits = ask_for(&mut it, 2, Config, at(111));
    let (waiting, _) = it.connect(waits.id, None, at(111)).unwrap();
    assert_eq!(told(&it.leave(2, waiting, at(112))), [(2, Cancelled)]);
    let changes = it.leave(1, third, at(113));
    assert_eq!(told(&changes), [(1, Failed)]);
    assert_eq!(last(&changes).problem.unwrap().detail, "its holder went away");
}

#[test]
fn what_an_earlier_run_kept_goes_on_with_a_whole_lease() {
    let mut it = coordinator();
    let held = ask_for(&mut it, 1, Restart, at(0));
    ask_for(&mut it, 2, Config, at(1));
    let own = operation(3, OperationClass::Stop, "taskspace:a", at(2));
    it.request(operation(4, Config, "taskspace:a/dev", at(2)), Holder::Lease(LEASE), None, at(2));
    assert_eq!(last(&it.request(own, Holder::Service, None, at(3))).state, Queued);
    let kept: Vec<KeptOperation> = it
        .all()
        .map(|(operation, period)| KeptOperation {
            operation: operation.clone(),
            job: period.is_none().then_some(KeptJob::Stop),
            lease_seconds: period.unwrap_or_default().as_secs(),
        })
        .collect();
    let (tokens, today) = it.remembered();

    let rules: Coordination = Coordination::built_in().try_into().unwrap();
    let mut next = Coordinator::new(Arc::new(rules), tokens, today.clone());
    next.set_tokens_aside(tokens + 1_000);
    assert_eq!(next.restore(&kept, at(100)), []);
    assert_eq!(next.deadline(), Some(at(130).ticks));
    next.renew(1, held.token, at(120)).unwrap();
    // The one of the service waits without a lease; the others had time to come back.
    assert_eq!(told(&next.expire(at(130))), [(2, Cancelled), (4, Failed), (3, Running)]);
    // It had 300 seconds from its beginning.
    let (again, _) = next.connect(1, held.token, at(131)).unwrap();
    assert_eq!(told(&next.expire(at(300))), [(1, TimedOut)]);
    assert_eq!(next.leave(1, again, at(301)), []);
    assert!(next.current(3).unwrap().token > held.token);
    assert_eq!(next.view(at(301)).today.requested, 4);
}

#[test]
fn operations_wait_in_the_order_of_their_arrival_when_the_clock_is_set_back() {
    let set_back = |seconds| {
        let time = at(seconds).time - jiff::SignedDuration::from_hours(1);
        Moment { time, ..at(seconds) }
    };
    let mut it = coordinator();
    ask_for(&mut it, 1, Restart, at(0));
    ask_for(&mut it, 2, Config, at(10));
    let behind = |operation: &Operation| -> Vec<u64> {
        operation.behind.iter().map(|conflict| conflict.operation).collect()
    };
    let third = ask_for(&mut it, 3, OperationClass::Deploy, set_back(11));
    assert!(behind(&third).contains(&2), "{:?}", behind(&third));

    // The same in a later run of the service.
    let kept = it.all().map(|(operation, _)| KeptOperation {
        operation: operation.clone(),
        job: None,
        lease_seconds: 60,
    });
    let kept: Vec<KeptOperation> = kept.collect();
    let mut next = coordinator();
    next.restore(&kept, set_back(0));
    let fourth = ask_for(&mut next, 4, OperationClass::Stop, set_back(1));
    assert!(behind(&fourth).contains(&2), "{:?}", behind(&fourth));
}

#[test]
fn under_what_one_holds_one_does_what_others_have_to_wait_for() {
    let mut it = coordinator();
    let now = at(0);
    let outer = operation(1, Restart, "taskspace:a", now);
    let token = last(&it.request(outer, Holder::Lease(LEASE), None, now)).token.unwrap();
    let own = |id| operation(id, Restart, "taskspace:a", now);
    let hold = |token| Some(Hold { operation: 1, token });
    assert_eq!(last(&it.request(own(2), Holder::Service, None, now)).state, Rejected);
    let late = last(&it.request(own(3), Holder::Service, hold(token + 1), now));
    assert_eq!((late.state, late.problem.unwrap().code), (Rejected, Code::LeaseLost));
    let elsewhere = operation(4, Restart, "taskspace:b", now);
    let elsewhere = last(&it.request(elsewhere, Holder::Service, hold(token), now));
    assert_eq!(elsewhere.problem.unwrap().code, Code::OperationConflict);
    let inner = last(&it.request(own(5), Holder::Service, hold(token), now));
    assert_eq!((inner.state, inner.under), (Running, Some(1)));
    assert_eq!(it.count(), (2, 1));
}

#[test]
fn what_is_done_under_an_operation_is_over_with_it() {
    let mut it = coordinator();
    let now = at(0);
    let ask = |it: &mut Coordinator, id, class, holder, under: Option<Hold>| {
        last(&it.request(operation(id, class, "taskspace:a", now), holder, under, now))
    };
    let lease = Holder::Lease(LEASE);
    let outer = ask(&mut it, 1, Restart, lease, None).token.unwrap();
    let hold = |operation, token| Some(Hold { operation, token });
    let inner = ask(&mut it, 2, Config, lease, hold(1, outer)).token.unwrap();
    assert_eq!(ask(&mut it, 3, Read, lease, hold(2, inner)).state, Running);
    // What the service has begun goes on.
    assert_eq!(
        ask(&mut it, 4, OperationClass::Start, Holder::Service, hold(1, outer)).state,
        Queued
    );
    assert_eq!(ask(&mut it, 5, Read, Holder::Service, hold(1, outer)).state, Running);
    let changes = it.complete(1, Some(outer), Ok(()), at(1)).unwrap();
    assert_eq!(told(&changes), [(3, Cancelled), (2, Cancelled), (1, Done), (4, Running)]);
    assert_eq!(it.count(), (2, 2));
}

#[test]
fn who_removes_what_it_holds_goes_on() {
    let mut it = coordinator();
    let now = at(0);
    let outer = operation(1, OperationClass::Deploy, "taskspace:a", now);
    let token = last(&it.request(outer, Holder::Lease(LEASE), None, now)).token.unwrap();
    let under = Some(Hold { operation: 1, token });
    let delete = operation(2, OperationClass::Stop, "taskspace:a", now);
    assert_eq!(last(&it.request(delete, Holder::Service, under, now)).state, Running);
    // Two that wait for each other's end: neither is let in by the other's.
    for (id, class) in [(3, Config), (4, Restart)] {
        let waits = operation(id, class, "taskspace:a/dev", now);
        assert_eq!(last(&it.request(waits, Holder::Lease(LEASE), None, now)).state, Queued);
    }
    let changes = it.forget(&"taskspace:a".parse().unwrap(), 2, at(1));
    assert_eq!(told(&changes), [(3, Cancelled), (4, Cancelled)]);
    assert_eq!(it.current(1).unwrap().state, Running);
}

#[test]
fn tokens_are_given_as_far_as_they_are_set_aside() {
    let rules: Coordination = Coordination::built_in().try_into().unwrap();
    let mut it = Coordinator::new(Arc::new(rules), 7, Totals::default());
    assert!(!it.has_tokens());
    it.set_tokens_aside(9);
    assert!(it.has_tokens());
    assert_eq!(ask_for(&mut it, 1, Restart, at(0)).token, Some(8));
    // One that waits may need the last one.
    ask_for(&mut it, 2, Config, at(0));
    assert!(!it.has_tokens());
    it.set_tokens_aside(100);
    assert!(it.has_tokens());
}

#[test]
fn what_is_the_services_own_is_not_held_by_anybody() {
    let mut it = coordinator();
    let changes = it.take_up(operation(1, Restart, "taskspace:a", at(0)), at(0));
    let token = last(&changes).token;
    for result in [it.renew(1, token, at(1)).map(drop), it.connect(1, token, at(1)).map(drop)] {
        assert_eq!(result.unwrap_err().code, Code::LeaseLost);
    }
    assert_eq!(it.cancel(1, at(1)).unwrap_err().code, Code::StateConflict);
    assert_eq!(it.deadline(), None);
    assert_eq!(told(&it.finish(1, Ok(()), at(2))), [(1, Done)]);
    assert_eq!(it.cancel(1, at(3)).unwrap_err().code, Code::StateConflict);
}

#[test]
fn what_acts_on_something_that_is_gone_is_over() {
    let mut it = coordinator();
    let ask = |it: &mut Coordinator, id, class, target: &str, holder| {
        last(&it.request(operation(id, class, target, at(0)), holder, None, at(0))).state
    };
    let lease = Holder::Lease(LEASE);
    assert_eq!(ask(&mut it, 1, OperationClass::Stop, "taskspace:a", Holder::Service), Running);
    assert_eq!(ask(&mut it, 2, Read, "taskspace:a/dev", lease), Running);
    assert_eq!(ask(&mut it, 3, Config, "taskspace:a", lease), Queued);
    assert_eq!(ask(&mut it, 4, Config, "taskspace:b", lease), Running);
    let changes = it.forget(&"taskspace:a".parse().unwrap(), 1, at(1));
    assert_eq!(told(&changes), [(2, Cancelled), (3, Cancelled)]);
    assert_eq!(it.count(), (2, 1));
}

#[test]
fn a_service_that_ends_lets_nothing_in_any_more() {
    let mut it = coordinator();
    let token = ask_for(&mut it, 1, Restart, at(0)).token;
    ask_for(&mut it, 2, Config, at(1));
    it.freeze();
    assert_eq!(told(&it.complete(1, token, Ok(()), at(2)).unwrap()), [(1, Done)]);
    assert_eq!(it.current(2).unwrap().state, Queued);
}

#[test]
fn every_day_begins_with_nothing() {
    let mut it = coordinator();
    ask_for(&mut it, 1, Restart, at(0));
    let tomorrow = Moment { day: date(2026, 11, 22), ..at(100) };
    assert_eq!(
        it.view(tomorrow).today,
        Totals { day: "2026-11-22".to_owned(), ..Totals::default() }
    );
    it.cancel(1, tomorrow).unwrap();
    let today = it.view(tomorrow).today;
    assert_eq!((today.requested, today.cancelled), (0, 1));
}

proptest! {
    /// Whatever happens, tokens rise, and in the end nothing is held and nothing waits.
    #[test]
    fn in_the_end_nothing_is_held(
        steps in prop::collection::vec((0u8..8, 0usize..8, 0u64..12, 0u64..40), 1..80),
    ) {
        let mut it = coordinator();
        let (mut seconds, mut next, mut tokens) = (0, 0, Vec::new());
        let mut ended = Vec::new();
        for (what, class, which, later) in steps {
            seconds += later;
            let now = at(seconds);
            let token = it.current(which).and_then(|operation| operation.token);
            let changes = match what {
                0..=2 => {
                    next += 1;
                    let target = ["api", "taskspace:a", "taskspace:a/dev"][which as usize % 3];
                    let asked = operation(next, OperationClass::ALL[class], target, now);
                    let holder = if what == 0 { Holder::Service } else { Holder::Lease(LEASE) };
                    it.request(asked, holder, None, now)
                }
                3 => it.complete(which, token, Ok(()), now).unwrap_or_default(),
                4 => it.cancel(which, now).unwrap_or_default(),
                5 => it.finish(which, Ok(()), now),
                6 => {
                    let (connection, _) = it.connect(which, token, now).unwrap_or_default();
                    it.leave(which, connection, now)
                }
                _ => it.expire(now),
            };
            for change in &changes {
                match change {
                    Change::Admitted(operation) => tokens.push(operation.token.unwrap()),
                    Change::Ended { operation, .. } => ended.push(operation.id),
                    Change::Requested(_) | Change::Queued(_) | Change::Renewed(_) => {}
                }
            }
            prop_assert!(it.deadline().is_none_or(|deadline| deadline > now.ticks || what != 7));
        }
        prop_assert!(tokens.is_sorted_by(|a, b| a < b));
        for id in 1..=next {
            for change in it.finish(id, Ok(()), at(seconds)) {
                if let Change::Ended { operation, .. } = change {
                    ended.push(operation.id);
                }
            }
        }
        // Each ends once.
        ended.sort_unstable();
        prop_assert_eq!(ended, (1..=next).collect::<Vec<_>>());
        prop_assert_eq!(it.count(), (0, 0));
        prop_assert!(it.locks().is_empty() && it.deadline().is_none());
    }
}
