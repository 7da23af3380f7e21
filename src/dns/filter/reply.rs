//! Writes replies (RFC 1035, 2308, 6891, 8914).

use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{HINFO, SOA};
use hickory_proto::rr::{RData, Record};

use super::query::Query;
use super::terms::told;

/// The largest datagram that is sent and asked for: larger ones are cut into fragments on some way,
/// and those get lost (RFC 9715).
const LARGEST_DATAGRAM: u16 = 1232;

/// The option in which EDNS says more about an error (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// The extended error that says that who runs the server does not let it answer: Blocked.
const BLOCKED: [u8; 2] = [0, 15];

/// For how many seconds the answer to a question for everything holds.
const ANYTHING_LASTS: u32 = 3600;

/// The way that a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dns) enum Transport {
    /// In a datagram.
    Udp,
    /// In a stream.
    Tcp,
}

/// What is said to a question.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dns) enum Outcome {
    /// Values of the asked kind, and for how many seconds they hold.
    Values(Vec<RData>, u32),
    /// There is such a name, but it has nothing of the asked kind.
    Nothing(Option<Record<SOA>>),
    /// There is no such name.
    NoName(Option<Record<SOA>>),
    /// The rules refuse the name.
    ///
    /// It is told as a name that does not exist. Upon REFUSED or SERVFAIL glibc asks twice as often
    /// and then reports a "temporary failure in name resolution" (`EAI_AGAIN`), which has people
    /// look for a broken network and some programs try again; upon this it says at once that the
    /// name is not known. It comes without an SOA, so that nobody remembers it (RFC 2308, 5) and a
    /// change of the rules counts at once.
    Blocked,
    /// The least that can be said to who wants everything (RFC 8482).
    Anything,
    /// Nothing but a code.
    Code(ResponseCode),
}

impl Query {
    /// Returns how large a reply may be.
    pub(in crate::dns) fn limit(&self, transport: Transport) -> usize {
        match (transport, self.edns) {
            (Transport::Tcp, _) => u16::MAX.into(),
            (Transport::Udp, Some(asked)) => asked.datagram.min(LARGEST_DATAGRAM).into(),
            (Transport::Udp, None) => 512,
        }
    }

    /// Writes a reply.
    pub(in crate::dns) fn compose(&self, outcome: Outcome, limit: usize) -> Vec<u8> {
        let mut message = self.head(&outcome);
        let record = |ttl, value| Record::from_rdata(self.asked().clone(), ttl, value);
        match outcome {
            Outcome::Values(values, ttl) => {
                message.add_answers(values.into_iter().map(|value| record(ttl, value)));
            }
            Outcome::Anything => {
                let value = HINFO::new("RFC8482".into(), String::new());
                message.add_answer(record(ANYTHING_LASTS, RData::HINFO(value)));
            }
            // One of another zone (that of an alias's target) says nothing about this name.
            Outcome::Nothing(Some(soa)) | Outcome::NoName(Some(soa))
                if soa.name.zone_of(self.asked()) =>
            {
                let ttl = told(soa.ttl.min(soa.data.minimum));
                message.add_authority(Record::from_rdata(soa.name, ttl, RData::SOA(soa.data)));
            }
            Outcome::Nothing(_) | Outcome::NoName(_) | Outcome::Blocked | Outcome::Code(_) => {}
        }
        self.fit(message, limit)
    }

    /// Returns a reply that says nothing yet.
    fn head(&self, outcome: &Outcome) -> Message {
        let mut message = Message::response(self.id, OpCode::Query);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.recursion_available = true;
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.response_code = match outcome {
            Outcome::Values(..) | Outcome::Nothing(_) | Outcome::Anything => ResponseCode::NoError,
            Outcome::NoName(_) | Outcome::Blocked => ResponseCode::NXDomain,
            Outcome::Code(code) => *code,
        };
        message.add_query(self.question.clone());
        if let Some(asked) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(LARGEST_DATAGRAM);
            edns.set_dnssec_ok(asked.dnssec_ok);
            if *outcome == Outcome::Blocked {
                edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, BLOCKED.into()));
            }
            message.set_edns(edns);
        }
        message
    }

    /// Writes a message with as many of its answers as there is room for.
    ///
    /// There are clients that never ask again over TCP, so those that fit are sent.
    fn fit(&self, mut message: Message, limit: usize) -> Vec<u8> {
        loop {
            let Ok(bytes) = message.to_vec() else {
                // What came in could be read, so there is something that cannot be written in what
                // was found.
                return bare(&self.header(), ResponseCode::ServFail);
            };
            if bytes.len() <= limit {
                return bytes;
            }
            message.metadata.truncation = true;
            message.authorities.clear();
            if message.answers.is_empty() {
                return bytes;
            }
            let fitting = message.answers.len() * limit / bytes.len();
            message.answers.truncate(fitting);
        }
    }

    fn header(&self) -> [u8; 12] {
        let mut header = [0; 12];
        header[..2].copy_from_slice(&self.id.to_be_bytes());
        header[2] = u8::from(self.recursion_desired);
        header
    }
}

/// Writes a reply to a message of which nothing but the header could be read.
pub(super) fn bare(header: &[u8; 12], code: ResponseCode) -> Vec<u8> {
    let mut reply = vec![0; header.len()];
    reply[..2].copy_from_slice(&header[..2]);
    // That it is a response, with the operation and the wish for recursion of the query.
    reply[2] = 0x80 | header[2] & 0x79;
    reply[3] = 0x80 | code.low();
    reply
}
