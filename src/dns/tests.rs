//! The filter on real sockets, before a real resolver and a name server of the test's own.

mod scene;
mod table;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use scene::{
    Client, FIXED, INTERNAL, Names, Scene, Way, grant, none, query, refusal, said, until, values,
};
use table::TTL;

#[tokio::test]
async fn an_allowed_name_is_answered_after_its_addresses_are_let_through() {
    let lines = [
        "www.example.org A 192.0.2.1",
        "www.example.org A 192.0.2.2",
        "www.example.org AAAA 2001:db8::1",
    ];
    let scene = Scene::new(&[("www.example.org", 443)], &lines).await;
    scene.book.way.send_replace(Way::Waiting);
    let client = Client::new(scene.udp).await;
    client.send(1, "WWW.example.org", RecordType::A).await;
    until(|| scene.book.calls() == 1).await;
    assert!(client.0.try_recv(&mut [0]).is_err());
    scene.book.way.send_replace(Way::Open);
    let reply = client.receive().await;
    assert_eq!(said(&reply), values(&["192.0.2.1", "192.0.2.2"]));
    assert!(reply.answers.iter().all(|record| record.ttl <= TTL));
    let lasting = scene.book.grants.lock().unwrap()[0].lasting;
    assert!(lasting > Duration::from_secs(TTL.into()));
    let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|to| grant("www.example.org", 443, to));
    assert_eq!(scene.book.granted(), [one, two]);

    assert_eq!(
        said(&scene.ask("www.example.org", RecordType::AAAA).await),
        values(&["2001:db8::1"])
    );
    assert_eq!(scene.book.granted(), [grant("www.example.org", 443, "2001:db8::1")]);
    assert_eq!(scene.book.told(), []);
}

#[tokio::test]
async fn what_is_in_force_is_not_let_through_again() {
    let scene = Scene::new(&[("www.example.org", 443)], &["www.example.org A 192.0.2.1"]).await;
    for _ in 0..3 {
        let reply = scene.ask("www.example.org", RecordType::A).await;
        assert_eq!(said(&reply), values(&["192.0.2.1"]));
    }
    assert_eq!((scene.book.calls(), scene.table.asked("www.example.org")), (1, 1));
}

#[tokio::test]
async fn a_wildcard_allows_each_name_for_its_ports() {
    let lines = ["a.example.org A 192.0.2.1", "b.c.example.org A 192.0.2.2"];
    let scene = Scene::new(&[("*.example.org", 22)], &lines).await;
    assert_eq!(said(&scene.ask("a.example.org", RecordType::A).await), values(&["192.0.2.1"]));
    assert_eq!(said(&scene.ask("b.c.example.org", RecordType::A).await), values(&["192.0.2.2"]));
    let granted = ["a.example.org", "b.c.example.org"].into_iter().zip(["192.0.2.1", "192.0.2.2"]);
    let granted: Vec<_> = granted.map(|(name, to)| grant(name, 22, to)).collect();
    assert_eq!(scene.book.granted(), granted);
    let reply = scene.ask("none.example.org", RecordType::A).await;
    assert_eq!(said(&reply), none(ResponseCode::NXDomain));
    assert_eq!(scene.book.told(), []);
}

#[tokio::test]
async fn a_refused_name_does_not_exist_and_nobody_is_asked_for_it() {
    let scene = Scene::new(&[("www.example.org", 443)], &["example.org A 192.0.2.1"]).await;
    for kind in [RecordType::A, RecordType::TXT, RecordType::HTTPS] {
        let reply = scene.ask("Example.org", kind).await;
        assert_eq!(said(&reply), none(ResponseCode::NXDomain));
        let told = refusal("example.org", &kind.to_string(), Reason::NotAllowed);
        assert_eq!(scene.book.told(), [told]);
    }
    let reply = scene.ask("www\\.example.org", RecordType::A).await;
    assert_eq!(said(&reply), none(ResponseCode::NXDomain));
    let told = refusal("www\\.example.org.", "A", Reason::NotAHostname);
    assert_eq!(scene.book.told(), [told]);
    // Tools ask this of themselves.
    let reply = scene.ask("1.2.0.192.in-addr.arpa", RecordType::PTR).await;
    assert_eq!(said(&reply), none(ResponseCode::NXDomain));
    assert_eq!((scene.book.told(), scene.table.asked("example.org")), (vec![], 0));
}

#[tokio::test]
async fn who_observes_answers_and_tells() {
    let lines = ["www.example.org A 192.0.2.1"];
    let scene = Scene::new(&[], &lines).await;
    scene.filter.change().await.commit(Names { allowed: Vec::new(), observe: true });
    assert_eq!(said(&scene.ask("www.example.org", RecordType::A).await), values(&["192.0.2.1"]));
    assert_eq!(scene.book.granted(), [grant("www.example.org", 0, "192.0.2.1")]);
    assert_eq!(scene.book.told(), [refusal("www.example.org", "A", Reason::Observed)]);
}

#[tokio::test]
async fn an_alias_is_answered_as_the_name_that_was_asked_for() {
    let lines = [
        "www.example.org CNAME edge.example.net",
        "edge.example.net CNAME e1.example.net",
        "e1.example.net A 192.0.2.7",
    ];
    let scene = Scene::new(&[("www.example.org", 443)], &lines).await;
    let reply = scene.ask("www.example.org", RecordType::A).await;
    assert_eq!(said(&reply), values(&["192.0.2.7"]));
    assert_eq!(reply.answers[0].name.to_ascii(), "www.example.org.");
    assert_eq!(scene.book.granted(), [grant("www.example.org", 443, "192.0.2.7")]);
    let reply = scene.ask("www.example.org", RecordType::AAAA).await;
    assert_eq!(said(&reply), none(ResponseCode::NoError));
    let reply = scene.ask("edge.example.net", RecordType::A).await;
    assert_eq!(said(&reply), none(ResponseCode::NXDomain));
}

#[tokio::test]
async fn a_name_leads_only_where_it_may() {
    let lines = [
        "rebind.example.org A 127.0.0.1",
        "rebind.example.org A 10.0.0.1",
        "mixed.example.org A 10.0.0.1",
        "mixed.example.org A 192.0.2.1",
        "mapped.example.org AAAA ::ffff:192.0.2.1",
        "mirror.corp.example A 10.0.0.2",
    ];
    let allowed = [("*.example.org", 443), ("mirror.corp.example", INTERNAL)];
    let scene = Scene::new(&allowed, &lines).await;
    let reply = scene.ask("rebind.example.org", RecordType::A).await;
    assert_eq!(said(&reply), none(ResponseCode::NoError));
    let [loopback, private] = [[127, 0, 0, 1], [10, 0, 0, 1]].map(IpAddr::from);
    let reason = Reason::Addresses(vec![loopback, private]);
    assert_eq!(scene.book.told(), [refusal("rebind.example.org", "A", reason)]);
    let reply = scene.ask("mapped.example.org", RecordType::AAAA).await;
    assert_eq!(said(&reply), none(ResponseCode::NoError));
    assert_eq!((scene.book.told().len(), scene.book.granted()), (1, vec![]));

    assert_eq!(said(&scene.ask("mixed.example.org", RecordType::A).await), values(&["192.0.2.1"]));
    assert_eq!(said(&scene.ask("mirror.corp.example", RecordType::A).await), values(&["10.0.0.2"]));
    let granted = scene.book.granted();
    assert_eq!(granted[0], grant("mixed.example.org", 443, "192.0.2.1"));
    assert_eq!(granted[1..], [grant("mirror.corp.example", INTERNAL, "10.0.0.2")]);
    assert_eq!(scene.book.told(), []);
}

#[tokio::test]
async fn other_kinds_are_passed_on_but_hints_of_addresses() {
    let lines = [
        "example.org MX mail.example.net",
        "example.org TXT hello",
        "example.org HTTPS svc.example.net",
    ];
    let scene = Scene::new(&[("example.org", 443)], &lines).await;
    let ask = |kind| scene.ask("example.org", kind);
    assert_eq!(said(&ask(RecordType::MX).await), values(&["10 mail.example.net."]));
    assert_eq!(said(&ask(RecordType::TXT).await), values(&["hello"]));
    for kind in [RecordType::HTTPS, RecordType::SVCB, RecordType::DNSKEY, RecordType::A] {
        assert_eq!(said(&ask(kind).await), none(ResponseCode::NoError));
    }
    assert_eq!((scene.book.granted(), scene.book.told()), (vec![], vec![]));
}

#[tokio::test]
async fn what_does_not_fit_is_asked_for_again_over_tcp() {
    let lines: Vec<String> =
        (0..60).map(|last| format!("many.example.org AAAA 2001:db8::{last:x}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let scene = Scene::new(&[("many.example.org", 443)], &lines).await;
    let reply = scene.ask("many.example.org", RecordType::AAAA).await;
    assert!(reply.metadata.truncation && reply.answers.len() < 60);

    let mut connection = TcpStream::connect(scene.tcp).await.unwrap();
    let message = query(7, "many.example.org", RecordType::AAAA);
    let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes(), &message[..]].concat();
    // Two at once, the second of them in pieces.
    connection.write_all(&framed).await.unwrap();
    connection.write_all(&framed[..5]).await.unwrap();
    connection.write_all(&framed[5..]).await.unwrap();
    for _ in 0..2 {
        let size = connection.read_u16().await.unwrap();
        let mut reply = vec![0; size.into()];
        connection.read_exact(&mut reply).await.unwrap();
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!((reply.metadata.id, reply.answers.len()), (7, 60));
        assert!(!reply.metadata.truncation);
    }
    // Who announces what is no query is not listened to.
    connection.write_all(&[0xff, 0xff]).await.unwrap();
    assert_eq!(connection.read(&mut [0; 9]).await.unwrap(), 0);
}

#[tokio::test]
async fn the_same_question_is_looked_up_once_at_a_time() {
    let scene = Scene::new(&[("slow.example.org", 443)], &["slow.example.org A 192.0.2.1"]).await;
    let client = Client::new(scene.udp).await;
    for id in 0..20 {
        client.send(id, "slow.example.org", RecordType::A).await;
    }
    until(|| scene.table.asked("slow.example.org") > 0).await;
    scene.table.open();
    let mut ids = Vec::new();
    for _ in 0..20 {
        let reply = client.receive().await;
        assert_eq!(said(&reply), values(&["192.0.2.1"]));
        ids.push(reply.metadata.id);
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..20).collect::<Vec<_>>());
    assert_eq!(scene.table.asked("slow.example.org"), 1);
    assert_eq!(scene.book.granted(), [grant("slow.example.org", 443, "192.0.2.1")]);
}

#[tokio::test]
async fn what_is_not_let_through_is_not_told() {
    let scene = Scene::new(&[("www.example.org", 443)], &["www.example.org A 192.0.2.1"]).await;
    scene.book.way.send_replace(Way::Broken);
    let reply = scene.ask("www.example.org", RecordType::A).await;
    assert_eq!(said(&reply), none(ResponseCode::ServFail));
    let reason = Reason::NotGranted("no such set".into());
    assert_eq!(scene.book.told(), [refusal("www.example.org", "A", reason)]);
    scene.book.way.send_replace(Way::Open);
    assert_eq!(said(&scene.ask("www.example.org", RecordType::A).await), values(&["192.0.2.1"]));
}

#[tokio::test]
async fn a_slow_server_holds_up_nobody_else() {
    let lines = ["slow.example.org A 192.0.2.1", "www.example.org A 192.0.2.2"];
    let scene = Scene::new(&[("*.example.org", 443)], &lines).await;
    let client = Client::new(scene.udp).await;
    client.send(1, "slow.example.org", RecordType::A).await;
    until(|| scene.table.asked("slow.example.org") == 1).await;
    assert_eq!(said(&scene.ask("www.example.org", RecordType::A).await), values(&["192.0.2.2"]));
    scene.table.open();
    assert_eq!(said(&client.receive().await), values(&["192.0.2.1"]));
}

#[tokio::test]
async fn a_lookup_without_an_answer_fails() {
    let scene = Scene::new(&[("mute.example.org", 443)], &[]).await;
    let reply = scene.ask("mute.example.org", RecordType::A).await;
    assert_eq!(said(&reply), none(ResponseCode::ServFail));
    assert_eq!(scene.book.told(), []);
}

#[tokio::test]
async fn rules_count_from_their_change_on() {
    let lines = ["slow.example.org A 192.0.2.1", "www.example.org A 192.0.2.2"];
    let scene = Scene::new(&[("*.example.org", 443)], &lines).await;
    let client = Client::new(scene.udp).await;
    client.send(1, "slow.example.org", RecordType::A).await;
    until(|| scene.table.asked("slow.example.org") == 1).await;
    assert_eq!(said(&scene.ask("www.example.org", RecordType::A).await), values(&["192.0.2.2"]));
    scene.book.granted();

    scene.allow(&[("www.example.org", 22)]).await;
    scene.table.open();
    // Looked up by the old ones, answered by the new ones.
    assert_eq!(said(&client.receive().await), none(ResponseCode::NXDomain));
    assert_eq!(scene.book.granted(), []);
    assert_eq!(scene.book.told(), [refusal("slow.example.org", "A", Reason::NotAllowed)]);
}

#[tokio::test]
async fn a_change_carries_on_what_is_still_allowed() {
    let lines = ["a.example.org A 192.0.2.1", "b.example.org A 192.0.2.2"];
    let scene = Scene::new(&[("*.example.org", 443)], &lines).await;
    for name in ["a.example.org", "b.example.org"] {
        scene.ask(name, RecordType::A).await;
    }
    scene.book.granted();

    let rules = Names { allowed: vec![("a.example.org", 22)], observe: false };
    let change = scene.filter.change().await;
    let carried = grants(&change.remembered(), &rules);
    assert_eq!(carried.len(), 1);
    assert_eq!((&*carried[0].name, carried[0].scope), ("a.example.org", 22));
    // One that comes to nothing leaves everything as it was.
    drop(change);
    let change = scene.filter.change().await;
    assert_eq!(grants(&change.remembered(), &rules).len(), 1);
    change.commit(rules);
    // It is in force already.
    assert_eq!(said(&scene.ask("a.example.org", RecordType::A).await), values(&["192.0.2.1"]));
    assert_eq!(scene.book.granted(), []);
    // It was forgotten.
    scene.allow(&[("*.example.org", 443)]).await;
    scene.ask("b.example.org", RecordType::A).await;
    assert_eq!(scene.book.granted(), [grant("b.example.org", 443, "192.0.2.2")]);
}

#[tokio::test]
async fn fixed_names_are_answered_without_a_lookup_or_a_grant() {
    let scene = Scene::new(&[], &[]).await;
    let reply = scene.ask(FIXED, RecordType::A).await;
    assert_eq!(said(&reply), values(&["169.254.1.2"]));
    let reply = scene.ask(FIXED, RecordType::AAAA).await;
    assert_eq!(said(&reply), none(ResponseCode::NoError));
    assert_eq!((scene.book.calls(), scene.table.asked_in_all()), (0, 0));
    assert_eq!(scene.book.told(), []);
}

#[tokio::test]
async fn grants_that_are_over_are_remembered_and_held_where_they_are_in_use() {
    let [one, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
    let remembered = |name: &str, address, seconds| {
        let lasting = Duration::from_secs(seconds);
        Remembered { name: name.into(), address, lasting }
    };
    let earlier = vec![
        remembered("a.example.org", one, 0),
        remembered("b.example.org", other, 0),
        remembered("long.example.org", other, 900),
        remembered("refused.example.net", one, 900),
    ];
    let allowed = [("*.example.org", 443)];
    let scene = Scene::remembering(&allowed, &["long.example.org A 192.0.2.2"], earlier).await;
    let change = scene.filter.change().await;
    let mut names: Vec<_> = change.remembered().into_iter().map(|it| it.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["a.example.org", "b.example.org", "long.example.org"].map(Arc::from));
    drop(change);
    // What an earlier filter has granted needs no new grant as long as it lasts.
    scene.ask("long.example.org", RecordType::A).await;
    assert_eq!(scene.book.granted(), []);
    scene.filter.hold(|port, address| *port == 443 && address == one).await;
    assert_eq!(scene.book.granted(), [grant("a.example.org", 443, "192.0.2.1")]);
    // It lasts by now.
    scene.filter.hold(|_, address| address == one).await;
    assert_eq!(scene.book.granted(), []);
}

#[tokio::test]
async fn nothing_is_let_through_while_rules_change() {
    let lines = ["a.example.org A 192.0.2.1", "b.example.org A 192.0.2.2"];
    let scene = Scene::new(&[("*.example.org", 443)], &lines).await;
    scene.book.way.send_replace(Way::Waiting);
    let client = Client::new(scene.udp).await;
    client.send(1, "a.example.org", RecordType::A).await;
    until(|| scene.book.calls() == 1).await;
    // What is under way is waited for.
    let mut change = Box::pin(scene.filter.change());
    assert!(futures_util::poll!(&mut change).is_pending());
    scene.book.way.send_replace(Way::Open);
    let change = change.await;
    assert_eq!(said(&client.receive().await), values(&["192.0.2.1"]));
    // What comes meanwhile waits.
    client.send(2, "b.example.org", RecordType::A).await;
    until(|| scene.table.asked("b.example.org") == 1).await;
    change.commit(Names { allowed: vec![("b.example.org", 22)], observe: false });
    assert_eq!(said(&client.receive().await), values(&["192.0.2.2"]));
    let granted =
        [grant("a.example.org", 443, "192.0.2.1"), grant("b.example.org", 22, "192.0.2.2")];
    assert_eq!(scene.book.granted(), granted);
}

#[tokio::test]
async fn a_flood_is_turned_away_at_once() {
    const WAITING: u16 = 256;
    const LOOKUPS: usize = 64;
    let lines = ["www.example.org A 192.0.2.1"];
    let scene = Scene::new(&[("*.example.org", 443)], &lines).await;
    let client = Client::new(scene.udp).await;
    for id in 0..WAITING {
        client.send(id, &format!("slow{id}.example.org"), RecordType::A).await;
    }
    for id in WAITING..WAITING + 50 {
        client.send(id, &format!("slow{id}.example.org"), RecordType::A).await;
        let reply = client.receive().await;
        assert_eq!(reply.metadata.id, id);
        assert_eq!(said(&reply), none(ResponseCode::ServFail));
    }
    assert!(scene.table.asked_in_all() <= LOOKUPS);
    // What needs no lookup is answered still.
    let reply = scene.ask("refused.example.net", RecordType::A).await;
    assert_eq!(said(&reply), none(ResponseCode::NXDomain));
    scene.table.open();
    for _ in 0..WAITING {
        client.receive().await;
    }
    assert_eq!(said(&scene.ask("www.example.org", RecordType::A).await), values(&["192.0.2.1"]));
}

#[tokio::test]
async fn noise_does_not_end_it() {
    let scene = Scene::new(&[("www.example.org", 443)], &["www.example.org A 192.0.2.1"]).await;
    let client = Client::new(scene.udp).await;
    for noise in [&b""[..], b"\0", &[0xff; 2000], &[0; 64]] {
        client.0.send(noise).await.unwrap();
    }
    assert_eq!(said(&scene.ask("www.example.org", RecordType::A).await), values(&["192.0.2.1"]));
}

#[tokio::test]
async fn a_filter_that_is_dropped_lets_its_sockets_go() {
    let scene = Scene::new(&[], &[]).await;
    let (udp, filter) = (scene.udp, scene.filter);
    drop(filter);
    until(|| std::net::UdpSocket::bind(udp).is_ok()).await;
}
