//! A DNS query by UDP, and what of its answer counts (RFC 1035).

use simple_dns::{CLASS, Label, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE};

use super::{Ends, packet};
use crate::probe::{
    Failure,
    service::{DnsQuestion, RecordType},
};

/// A query.
pub struct Query {
    ends: Ends,
    id: u16,
    /// As it was sent: an answer repeats it.
    question: Question<'static>,
    record: RecordType,
    unsent: bool,
    result: Option<Result<(), Failure>>,
}

impl Query {
    /// Asks `question`; `id` must be random, or a stranger could answer.
    pub fn new(question: &DnsQuestion, ends: Ends, id: u16) -> Self {
        let record = question.record;
        let question = Question::new(
            name(&question.name),
            QTYPE::TYPE(TYPE::from(record.code())),
            CLASS::IN.into(),
            false,
        );
        Self {
            ends,
            id,
            question,
            record,
            unsent: true,
            result: None,
        }
    }

    /// Takes a datagram's payload from the target to our port. What does not answer this query changes
    /// nothing: it may be forged, and the true answer may still come.
    pub fn take(&mut self, payload: &[u8]) {
        let Ok(answer) = Packet::parse(payload) else {
            return;
        };
        let answers = answer.has_flags(PacketFlag::RESPONSE) && answer.id() == self.id;
        // A server that refuses to read a query need not repeat it (RFC 1035 section 4.1.1).
        let repeats = match answer.questions.as_slice() {
            [] => answer.rcode() != RCODE::NoError,
            [question] => {
                same(&question.qname, &self.question.qname)
                    && question.qtype == self.question.qtype
                    && question.qclass == self.question.qclass
            }
            _ => false,
        };
        if !answers || !repeats || self.result.is_some() {
            return;
        }
        let wanted = TYPE::from(self.record.code());
        let has_record =
            |record: &simple_dns::ResourceRecord<'_>| record.rdata.type_code() == wanted;
        // As it stands in the header: the library knows but some of the codes.
        let code = payload.get(3).map_or(0, |byte| byte & 0xf);
        self.result = Some(if code != 0 {
            Err(Failure::DnsCode(code))
        } else if answer.answers.iter().any(has_record) {
            Ok(())
        } else {
            Err(Failure::NoRecord)
        });
    }

    /// Adds the query to `packets` once; the result when it is known.
    pub fn poll(&mut self, packets: &mut Vec<Vec<u8>>) -> Option<Result<(), Failure>> {
        if self.unsent {
            self.unsent = false;
            let mut query = Packet::new_query(self.id);
            query.set_flags(PacketFlag::RECURSION_DESIRED);
            query.questions.push(self.question.clone());
            match query.build_bytes_vec() {
                Ok(bytes) => packets.push(packet::datagram(self.ends, &bytes)),
                // A name that was checked when it was configured.
                Err(_) => self.result = Some(Err(Failure::NotDns)),
            }
        }
        self.result
    }
}

fn name(text: &str) -> Name<'static> {
    let labels: Vec<Label<'static>> = text
        .split('.')
        .filter(|label| !label.is_empty())
        .map(|label| Label::new_unchecked(label.as_bytes().to_vec()))
        .collect();
    Name::new_with_labels(&labels)
}

/// Names are the same whatever the case of their letters (RFC 4343).
fn same(a: &Name<'_>, b: &Name<'_>) -> bool {
    let mut labels = (a.as_bytes(), b.as_bytes());
    loop {
        match (labels.0.next(), labels.1.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a.eq_ignore_ascii_case(b) => {}
            (Some(_), _) | (None, Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use simple_dns::{ResourceRecord, rdata};

    use super::*;
    use crate::probe::{Family, exchange::Received};

    fn ends() -> Ends {
        Ends {
            source: "192.0.2.1:40000".parse().expect("an end"),
            target: "198.51.100.1:53".parse().expect("an end"),
        }
    }

    fn query(text: &str, record: RecordType) -> (Query, Vec<u8>) {
        let question = DnsQuestion {
            name: text.into(),
            record,
        };
        let mut query = Query::new(&question, ends(), 0x1234);
        let mut packets = Vec::new();
        assert_eq!(query.poll(&mut packets), None);
        assert_eq!(query.poll(&mut packets), None);
        let [packet] = &packets[..] else {
            panic!("{packets:?}")
        };
        let sent = Received::parse(Family::Ipv4, packet, true).expect("whole");
        (query, sent.payload().to_vec())
    }

    /// An answer to the query with these bytes, changed by `change`.
    fn answer(asked: &[u8], change: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
        let mut packet = Packet::parse(asked).expect("a query").into_reply();
        packet.set_flags(PacketFlag::RESPONSE);
        change(&mut packet);
        packet.build_bytes_vec().expect("an answer")
    }

    fn a_record(packet: &mut Packet<'_>) {
        let data = rdata::RData::A(rdata::A { address: 1 });
        let record = ResourceRecord::new(name("example.net"), CLASS::IN, 60, data);
        packet.answers.push(record);
    }

    #[test]
    fn a_record_of_the_expected_type_is_the_answer() {
        let (mut asked, bytes) = query("example.net", RecordType::A);
        let parsed = Packet::parse(&bytes).expect("a query");
        assert!(parsed.has_flags(PacketFlag::RECURSION_DESIRED));
        assert_eq!(parsed.questions[0].qname.to_string(), "example.net");
        asked.take(&answer(&bytes, a_record));
        assert_eq!(asked.poll(&mut Vec::new()), Some(Ok(())));

        let (mut asked, bytes) = query("example.net", RecordType::Aaaa);
        asked.take(&answer(&bytes, a_record));
        assert_eq!(asked.poll(&mut Vec::new()), Some(Err(Failure::NoRecord)));

        let (mut asked, bytes) = query("example.net", RecordType::A);
        asked.take(&answer(&bytes, |packet| {
            *packet.rcode_mut() = RCODE::ServerFailure
        }));
        assert_eq!(asked.poll(&mut Vec::new()), Some(Err(Failure::DnsCode(2))));
    }

    #[test]
    fn the_root_can_be_asked_for() {
        let (_, bytes) = query("", RecordType::Ns);
        // Header, the root, type NS, class IN.
        assert_eq!(bytes[12..], [0, 0, 2, 0, 1]);
    }

    #[test]
    fn an_answer_in_other_letters_is_the_same_name() {
        let (mut asked, bytes) = query("example.net", RecordType::A);
        asked.take(&answer(&bytes, |packet| {
            packet.questions[0].qname = name("EXAMPLE.Net");
            a_record(packet);
        }));
        assert_eq!(asked.poll(&mut Vec::new()), Some(Ok(())));
    }

    #[test]
    fn what_does_not_answer_the_query_changes_nothing() {
        let (mut asked, bytes) = query("example.net", RecordType::A);
        let forged: [Vec<u8>; 6] = [
            answer(&bytes, |packet| {
                packet.set_id(0x1235);
                a_record(packet);
            }),
            answer(&bytes, |packet| {
                packet.questions[0].qname = name("example.com");
                a_record(packet);
            }),
            answer(&bytes, |packet| {
                packet.questions[0].qtype = QTYPE::TYPE(TYPE::AAAA);
                a_record(packet);
            }),
            answer(&bytes, |packet| {
                packet.questions.clear();
                a_record(packet);
            }),
            bytes.clone(),
            b"no DNS".to_vec(),
        ];
        for forged in forged {
            asked.take(&forged);
            assert_eq!(asked.poll(&mut Vec::new()), None, "{forged:?}");
        }
        asked.take(&answer(&bytes, a_record));
        assert_eq!(asked.poll(&mut Vec::new()), Some(Ok(())));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut asked, sent) = query("example.net", RecordType::A);
            asked.take(&bytes);
            let mut behind = sent;
            behind[2] |= 0x80;
            behind.extend(&bytes);
            asked.take(&behind);
        }

        #[test]
        fn no_change_of_a_true_answer_makes_it_panic(at: proptest::sample::Index, value: u8) {
            let (mut asked, sent) = query("example.net", RecordType::A);
            let mut bytes = answer(&sent, a_record);
            let at = at.index(bytes.len());
            bytes[at] = value;
            asked.take(&bytes);
        }
    }
}
