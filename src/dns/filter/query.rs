//! Reads what was sent (RFC 1035, 6891, 8482, 9619).

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Message, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use super::reply::{Outcome, bare};

/// The length of a message's header.
const HEADER: usize = 12;

/// The only version of EDNS that there is.
const EDNS_VERSION: u8 = 0;

/// The size of a datagram that everybody takes (RFC 1035, 4.2.1).
const SMALLEST_DATAGRAM: u16 = 512;

/// For how many seconds the answer to who is `localhost` holds.
const LOCALHOST_LASTS: u32 = 3600;

/// What is to be done about a message.
#[derive(Debug)]
pub(in crate::dns) enum Reading {
    /// Nothing. An answer to an answer could go on for ever, and one to noise helps nobody.
    Ignore,
    /// This is the whole answer.
    Reply(Vec<u8>),
    /// It asks for something.
    Ask(Query),
}

/// A question that can be answered.
#[derive(Debug)]
pub(in crate::dns) struct Query {
    pub(super) id: u16,
    pub(super) question: Question,
    pub(super) recursion_desired: bool,
    pub(super) checking_disabled: bool,
    pub(super) edns: Option<Asked>,
}

/// What a client says about itself in EDNS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) datagram: u16,
    pub(super) dnssec_ok: bool,
}

/// What becomes of questions of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dns) enum Treatment {
    /// Addresses, which are granted.
    Addresses,
    /// Passed on; what it names has to be asked for.
    Passed,
    /// Answered as if there were nothing.
    Hidden,
}

/// Reads a message.
pub(in crate::dns) fn read(bytes: &[u8]) -> Reading {
    let Some(head) = bytes.first_chunk::<HEADER>() else { return Reading::Ignore };
    if head[2] & 0x80 != 0 {
        return Reading::Ignore;
    }
    let fail = |code| Reading::Reply(bare(head, code));
    let operation = OpCode::from_u8((head[2] >> 3) & 0x0f);
    if operation != OpCode::Query {
        return fail(ResponseCode::NotImp);
    }
    // Looked at first: what reads the message makes room for as many as it says.
    if u16::from_be_bytes([head[4], head[5]]) != 1 {
        return fail(ResponseCode::FormErr);
    }
    let Ok(message) = Message::from_vec(bytes) else { return fail(ResponseCode::FormErr) };
    let [question] = message.queries.as_slice() else { return fail(ResponseCode::FormErr) };
    if message.metadata.truncation {
        return fail(ResponseCode::FormErr);
    }
    let query = Query {
        id: message.metadata.id,
        question: question.clone(),
        recursion_desired: message.metadata.recursion_desired,
        checking_disabled: message.metadata.checking_disabled,
        edns: message.edns.as_ref().map(|edns| Asked {
            datagram: edns.max_payload().max(SMALLEST_DATAGRAM),
            dnssec_ok: edns.flags().dnssec_ok,
        }),
    };
    let version = message.edns.as_ref().map_or(EDNS_VERSION, |edns| edns.version());
    match query.hindrance(version) {
        Some(outcome) => Reading::Reply(query.compose(outcome, SMALLEST_DATAGRAM.into())),
        None => Reading::Ask(query),
    }
}

impl Query {
    /// Returns what is said whatever the name is.
    fn hindrance(&self, version: u8) -> Option<Outcome> {
        if version != EDNS_VERSION {
            return Some(Outcome::Code(ResponseCode::BADVERS));
        }
        // `version.bind` and the like tell about us, and nobody else needs them.
        if self.question.query_class != DNSClass::IN {
            return Some(Outcome::Code(ResponseCode::Refused));
        }
        if self.is_local() {
            return Some(self.loopback());
        }
        match u16::from(self.kind()) {
            // As RFC 8482 has it: something that is never wrong, instead of everything.
            255 => Some(Outcome::Anything),
            // OPT and what is no kind of record: TKEY, TSIG, transfers of zones, mail agents.
            0 | 41 | 249..=254 => Some(Outcome::Code(ResponseCode::NotImp)),
            _ => None,
        }
    }

    /// Whether it is about `localhost`, which means whoever asks (RFC 6761, 6.3).
    fn is_local(&self) -> bool {
        self.asked().iter().next_back().is_some_and(|top| top.eq_ignore_ascii_case(b"localhost"))
    }

    fn loopback(&self) -> Outcome {
        let address = match self.kind() {
            RecordType::A => RData::A(Ipv4Addr::LOCALHOST.into()),
            RecordType::AAAA => RData::AAAA(Ipv6Addr::LOCALHOST.into()),
            _ => return Outcome::Nothing(None),
        };
        Outcome::Values(vec![address], LOCALHOST_LASTS)
    }

    /// What is asked of the name.
    pub(in crate::dns) fn kind(&self) -> RecordType {
        self.question.query_type
    }

    /// The name as it was sent.
    pub(super) fn asked(&self) -> &Name {
        &self.question.name
    }

    /// The name in lower case and fully qualified, for a lookup.
    pub(in crate::dns) fn target(&self) -> Name {
        let mut name = self.asked().to_lowercase();
        name.set_fqdn(true);
        name
    }

    /// Returns the name as rules know it; nothing where it cannot be a host's.
    ///
    /// A label may have a dot in itself, which would look like the end of one.
    pub(in crate::dns) fn hostname(&self) -> Option<String> {
        let mut text = String::with_capacity(self.asked().len());
        for label in self.asked() {
            if !text.is_empty() {
                text.push('.');
            }
            for byte in label {
                match byte.to_ascii_lowercase() {
                    known @ (b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_') => text.push(known.into()),
                    _ => return None,
                }
            }
        }
        Some(text)
    }

    /// Whether it asks who has an address.
    ///
    /// Many tools do, of every address they meet, and go on without an answer.
    pub(in crate::dns) fn is_reverse(&self) -> bool {
        let labels = self.asked().iter().rev().take(2).map(<[u8]>::to_ascii_lowercase);
        let end: Vec<Vec<u8>> = labels.collect();
        matches!(end.as_slice(), [top, zone]
            if top == b"arpa" && (zone == b"in-addr" || zone == b"ip6"))
    }

    /// Tells what becomes of such a question.
    ///
    /// HTTPS and SVCB have hints of addresses, which would come by the grants, and keys by which a
    /// client hides the name it connects to. What is signed would not match what is left of it.
    pub(in crate::dns) fn treatment(&self) -> Treatment {
        match self.kind() {
            RecordType::A | RecordType::AAAA => Treatment::Addresses,
            RecordType::CAA
            | RecordType::CNAME
            | RecordType::MX
            | RecordType::NAPTR
            | RecordType::NS
            | RecordType::PTR
            | RecordType::SOA
            | RecordType::SRV
            | RecordType::SSHFP
            | RecordType::TLSA
            | RecordType::TXT => Treatment::Passed,
            _ => Treatment::Hidden,
        }
    }
}
