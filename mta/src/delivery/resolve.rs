//! Answers the look-ups of a destination's [`Resolution`], all that it wants at once in parallel.

use angarium_effects::dns::{Dns, DnsAnswer, DnsError, Query, RecordData};
use angarium_queue::attempt::{AttemptError, DnsError as NotFound, ErrorKind};
use angarium_queue::destination::{
    Answer, Candidate, Lookup, LookupError, RecordType, Records, Resolution, Step,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// Finds the candidates of a destination, or the reason why there are none.
pub(super) async fn resolve(
    dns: &dyn Dns,
    mut resolution: Resolution,
) -> Result<Vec<Candidate>, AttemptError> {
    let mut running = FuturesUnordered::new();
    loop {
        match resolution.step() {
            Step::Done(result) => return result,
            Step::Lookup(lookup) => running.push(ask(dns, lookup)),
            Step::Wait => match running.next().await {
                Some((lookup, answer)) => resolution.answer(&lookup, answer),
                None => {
                    // The machine waits only for what it asked for.
                    let kind = ErrorKind::Dns(NotFound::Other);
                    let message = "the look-up of the destination did not end";
                    return Err(AttemptError::new(kind, true, message));
                }
            },
        }
    }
}

async fn ask(dns: &dyn Dns, lookup: Lookup) -> (Lookup, Result<Answer, LookupError>) {
    let kind = match lookup.kind {
        RecordType::Mx => angarium_effects::RecordType::Mx,
        RecordType::A => angarium_effects::RecordType::A,
        RecordType::Aaaa => angarium_effects::RecordType::Aaaa,
    };
    let answer = dns.query(&lookup.name, kind, &Query::default()).await;
    let answer = match answer {
        Ok(answer) => Ok(records(lookup.kind, answer)),
        Err(DnsError::NxDomain) => Err(LookupError::NxDomain),
        Err(DnsError::NoData) => Err(LookupError::NoData),
        // A name that cannot be asked for exists nowhere.
        Err(DnsError::NoRecovery) => Err(LookupError::NxDomain),
        Err(error) => Err(LookupError::Temporary(error.to_string())),
    };
    (lookup, answer)
}

fn records(kind: RecordType, answer: DnsAnswer) -> Answer {
    let data = answer.records.into_iter().map(|record| record.data);
    let records = match kind {
        RecordType::Mx => Records::Mx(
            data.filter_map(|data| match data {
                RecordData::Mx {
                    preference,
                    exchange,
                } => Some((preference, exchange)),
                _ => None,
            })
            .collect(),
        ),
        RecordType::A => Records::A(
            data.filter_map(|data| match data {
                RecordData::A(address) => Some(address),
                _ => None,
            })
            .collect(),
        ),
        RecordType::Aaaa => Records::Aaaa(
            data.filter_map(|data| match data {
                RecordData::Aaaa(address) => Some(address),
                _ => None,
            })
            .collect(),
        ),
    };
    Answer {
        records,
        secure: answer.authenticated,
    }
}
