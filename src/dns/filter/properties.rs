//! Whatever comes in, what is said is a reply to it, and nothing more than is allowed.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use proptest::prelude::*;

use super::*;

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Question::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn edns(size: u16) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(size);
    edns
}

fn ask(message: &Message) -> Query {
    match read(&message.to_vec().unwrap()) {
        Reading::Ask(query) => query,
        other => panic!("{other:?}"),
    }
}

fn reply(message: &Message) -> Message {
    match read(&message.to_vec().unwrap()) {
        Reading::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn said(query: &Query, outcome: Outcome, transport: Transport) -> Message {
    let bytes = query.compose(outcome, query.limit(transport));
    assert!(bytes.len() <= query.limit(transport));
    Message::from_vec(&bytes).unwrap()
}

fn addresses(count: u8) -> Vec<RData> {
    (0..count).map(|last| RData::A(A::new(192, 0, 2, last))).collect()
}

#[test]
fn what_is_no_query_is_not_answered() {
    let mut response = question("a.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    for bytes in [response.to_vec().unwrap(), Vec::new(), vec![0; 11]] {
        assert!(matches!(read(&bytes), Reading::Ignore));
    }
}

#[test]
fn what_cannot_be_answered_gets_a_code() {
    let mut cases = Vec::new();
    let mut two = question("a.", RecordType::A);
    two.add_query(two.queries[0].clone());
    cases.push((two, ResponseCode::FormErr));
    let mut none = question("a.", RecordType::A);
    none.queries.clear();
    cases.push((none, ResponseCode::FormErr));
    let mut truncated = question("a.", RecordType::A);
    truncated.metadata.truncation = true;
    cases.push((truncated, ResponseCode::FormErr));
    let mut notify = question("a.", RecordType::A);
    notify.metadata.op_code = OpCode::Notify;
    cases.push((notify, ResponseCode::NotImp));
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    cases.push((chaos, ResponseCode::Refused));
    let mut later = question("a.", RecordType::A);
    later.set_edns(edns(4096)).edns.as_mut().unwrap().set_version(1);
    cases.push((later, ResponseCode::BADVERS));
    for kind in [RecordType::AXFR, RecordType::IXFR, RecordType::TSIG] {
        cases.push((question("a.", kind), ResponseCode::NotImp));
    }
    for (message, code) in cases {
        let reply = reply(&message);
        // By their numbers: BADVERS and BADSIG have the same.
        let codes = [reply.metadata.response_code, code].map(u16::from);
        assert_eq!(codes[0], codes[1], "{message}");
        assert_eq!(reply.metadata.id, 4711);
        assert_eq!(reply.metadata.message_type, MessageType::Response);
        assert!(reply.answers.is_empty());
    }
}

#[test]
fn who_wants_everything_gets_the_least() {
    let reply = reply(&question("a.example.", RecordType::ANY));
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert_eq!(reply.answers.len(), 1);
    assert_eq!(reply.answers[0].record_type(), RecordType::HINFO);
}

#[test]
fn localhost_is_who_asks() {
    let v4 = reply(&question("LocalHost.", RecordType::A));
    assert_eq!(v4.answers[0].data, RData::A(A::new(127, 0, 0, 1)));
    let v6 = reply(&question("app.localhost.", RecordType::AAAA));
    assert_eq!(v6.answers[0].data.to_string(), "::1");
    assert!(reply(&question("localhost.", RecordType::MX)).answers.is_empty());
    assert_eq!(ask(&question("localhost.example.", RecordType::A)).kind(), RecordType::A);
}

#[test]
fn a_name_is_told_to_the_rules_only_if_a_host_can_have_it() {
    let hostname = |labels: &[&[u8]]| {
        let mut message = question("a.", RecordType::A);
        message.queries[0].name = Name::from_labels(labels.iter().copied()).unwrap();
        ask(&message).hostname()
    };
    assert_eq!(hostname(&[b"WWW", b"Example-1", b"_x"]).as_deref(), Some("www.example-1._x"));
    assert_eq!(hostname(&[]).as_deref(), Some(""));
    for label in [&b"a.b"[..], b"a b", b"a\0", b"*", "\u{e4}".as_bytes()] {
        assert_eq!(hostname(&[label, b"example"]), None, "{label:?}");
    }
}

#[test]
fn reverse_names_are_known() {
    let reverse = |name| ask(&question(name, RecordType::PTR)).is_reverse();
    assert!(reverse("1.2.0.192.in-addr.ARPA."));
    assert!(reverse("8.b.d.0.1.0.0.2.ip6.arpa."));
    assert!(!reverse("in-addr.arpa.example."));
    assert!(!reverse("arpa."));
}

#[test]
fn a_reply_has_the_question_as_it_was_sent() {
    let mut message = question("wWw.ExAmPlE.", RecordType::A);
    message.metadata.checking_disabled = true;
    message.set_edns(edns(4096)).edns.as_mut().unwrap().set_dnssec_ok(true);
    let query = ask(&message);
    assert_eq!(query.target().to_ascii(), "www.example.");
    let reply = said(&query, Outcome::Values(addresses(2), 60), Transport::Udp);
    assert_eq!(reply.queries[0].name.to_ascii(), "wWw.ExAmPlE.");
    assert_eq!(reply.answers[1].name.to_ascii(), "wWw.ExAmPlE.");
    assert_eq!(reply.answers[1].ttl, 60);
    let head = reply.metadata;
    assert!(head.recursion_desired && head.recursion_available && head.checking_disabled);
    assert!(!head.authentic_data && !head.authoritative && !head.truncation);
    let edns = reply.edns.unwrap();
    assert_eq!((edns.max_payload(), edns.version(), edns.flags().dnssec_ok), (1232, 0, true));
    assert!(edns.option(EdnsCode::Unknown(15)).is_none());
}

#[test]
fn a_refused_name_does_not_exist_and_is_not_remembered() {
    let mut message = question("a.example.", RecordType::A);
    let reply = said(&ask(&message), Outcome::Blocked, Transport::Udp);
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!((reply.authorities.len(), reply.edns), (0, None));

    message.set_edns(edns(1232));
    let reply = said(&ask(&message), Outcome::Blocked, Transport::Udp);
    let edns = reply.edns.unwrap();
    let blocked = EdnsOption::Unknown(15, vec![0, 15]);
    assert_eq!(edns.option(EdnsCode::Unknown(15)), Some(&blocked));
}

#[test]
fn what_is_not_there_is_remembered_as_long_as_its_zone_says() {
    let soa = |zone: &str| {
        use hickory_proto::rr::rdata::SOA;
        let name = Name::from_ascii(zone).unwrap();
        let data = SOA::new(name.clone(), name.clone(), 1, 2, 3, 4, 120);
        Some(Record::from_rdata(name, 900, data))
    };
    let query = ask(&question("a.example.", RecordType::A));
    let reply = said(&query, Outcome::NoName(soa("example.")), Transport::Udp);
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(reply.authorities[0].ttl, 120);
    let reply = said(&query, Outcome::Nothing(soa("elsewhere.")), Transport::Udp);
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert_eq!(reply.authorities, []);
}

#[test]
fn a_datagram_is_no_larger_than_the_client_takes() {
    for (size, limit) in [(None, 512), (Some(100), 512), (Some(800), 800), (Some(4096), 1232)] {
        let mut message = question("a.example.", RecordType::A);
        if let Some(size) = size {
            message.set_edns(edns(size));
        }
        let query = ask(&message);
        assert_eq!(query.limit(Transport::Udp), limit);
        let values = Outcome::Values(addresses(200), 60);
        let reply = said(&query, values.clone(), Transport::Udp);
        assert!(reply.metadata.truncation);
        // As many as there is room for, and no OPT is lost over it.
        assert!(reply.answers.len() > limit / 25, "{}", reply.answers.len());
        assert_eq!(reply.edns.is_some(), size.is_some());
        let whole = said(&query, values, Transport::Tcp);
        assert_eq!((whole.answers.len(), whole.metadata.truncation), (200, false));
    }
}

/// A query that is right in most ways.
fn queries() -> impl Strategy<Value = Vec<u8>> {
    let labels = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..8);
    let edns_size = prop::option::of(any::<u16>());
    (labels, any::<u16>(), edns_size, any::<bool>()).prop_map(|(labels, kind, size, dnssec)| {
        let mut message = question("a.", RecordType::from(kind));
        message.queries[0].name = Name::from_labels(labels).unwrap();
        if let Some(size) = size {
            message.set_edns(edns(size)).edns.as_mut().unwrap().set_dnssec_ok(dnssec);
        }
        message.to_vec().unwrap()
    })
}

/// Such a query with some bytes changed, cut off or appended.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let more = prop::collection::vec(any::<u8>(), 0..30);
    (queries(), changes, any::<prop::sample::Index>(), any::<bool>(), more).prop_map(
        |(mut bytes, changes, end, cut, more)| {
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes.extend(more);
            bytes
        },
    )
}

fn check(bytes: &[u8]) {
    match read(bytes) {
        Reading::Ignore => assert!(bytes.len() < 12 || bytes[2] & 0x80 != 0),
        Reading::Reply(reply) => assert_is_reply(&reply, bytes),
        Reading::Ask(query) => {
            for outcome in [
                Outcome::Values(addresses(100), 60),
                Outcome::Nothing(None),
                Outcome::NoName(None),
                Outcome::Blocked,
                Outcome::Anything,
                Outcome::Code(ResponseCode::ServFail),
            ] {
                for transport in [Transport::Udp, Transport::Tcp] {
                    let reply = query.compose(outcome.clone(), query.limit(transport));
                    assert!(reply.len() <= query.limit(transport));
                    assert_is_reply(&reply, bytes);
                    let reply = Message::from_vec(&reply).unwrap();
                    assert_eq!(reply.queries, std::slice::from_ref(&query.question));
                }
            }
            let hostname = query.hostname();
            assert!(hostname.is_none_or(|name| name.len() < 255 && !name.ends_with('.')));
            let _ = (query.target(), query.is_reverse(), query.treatment());
        }
    }
}

fn assert_is_reply(reply: &[u8], to: &[u8]) {
    assert_eq!(reply[..2], to[..2]);
    assert!(reply[2] & 0x80 != 0);
    // Read again, it is left alone.
    assert!(matches!(read(reply), Reading::Ignore));
    Message::from_vec(reply).unwrap();
}

proptest! {
    #[test]
    fn noise_is_no_danger(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        check(&bytes);
    }

    #[test]
    fn nor_is_what_is_nearly_right(bytes in mutated()) {
        check(&bytes);
    }
}
