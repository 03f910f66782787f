//! Walking over the candidates of one attempt.
//!
//! A host that cannot be reached, or that refuses before the message's envelope was discussed,
//! is passed over. A reply to the envelope or the content ends the attempt: another host would
//! say the same, or the message might be taken twice.

use crate::attempt::{Attempt, Outcome, SmtpState};

/// The place in a list of candidates, and what was met on the way.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Walk {
    next: usize,
    /// The failure to report if no host serves.
    failure: Option<Box<Attempt>>,
}

/// What follows on the attempt with one candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalkStep {
    /// Try the candidate with this number.
    Next(usize),
    /// The attempt is over, with this result.
    End(Box<Attempt>),
}

impl Walk {
    /// A walk that begins at the candidate with this number.
    pub fn starting_at(place: usize) -> Self {
        Walk {
            next: place,
            failure: None,
        }
    }

    /// Whether no candidate was tried yet.
    pub fn is_fresh(&self) -> bool {
        self.failure.is_none()
    }

    /// The number of the candidate to try.
    pub fn place(&self) -> usize {
        self.next
    }

    /// Takes the result with the current candidate out of `candidates`.
    ///
    /// If every host was passed over, the result is that of the last one which may serve later,
    /// so that no message bounces while a host is merely down; without such a one, the last.
    pub fn failed(&mut self, attempt: Box<Attempt>, candidates: usize) -> WalkStep {
        if !passes_over(&attempt) {
            return WalkStep::End(attempt);
        }
        let spent = self.failure.as_ref().map_or(attempt.duration, |failure| {
            failure.duration.saturating_add(attempt.duration)
        });
        let keeps =
            |failure: &Attempt| !failure.outcome.is_permanent() && attempt.outcome.is_permanent();
        let mut failure = match self.failure.take() {
            Some(failure) if keeps(&failure) => failure,
            _ => attempt,
        };
        failure.duration = spent;
        self.next = self.next.saturating_add(1);
        if self.next >= candidates {
            return WalkStep::End(failure);
        }
        self.failure = Some(failure);
        WalkStep::Next(self.next)
    }
}

/// Whether another host may serve after this result.
fn passes_over(attempt: &Attempt) -> bool {
    match &attempt.outcome {
        Outcome::Result(reply) if reply.is_success() => false,
        Outcome::Result(reply) => {
            reply.state.is_setup() || reply.code == 421 && reply.state == SmtpState::Mail
        }
        Outcome::Error(error) => attempt.connection.is_some() && !error.after_envelope,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{AttemptError, Connection, ErrorKind, Reply};
    use std::time::Duration;

    fn reply(code: u16, state: SmtpState) -> Box<Attempt> {
        let outcome = Outcome::Result(Reply {
            code,
            enhanced: None,
            reason: Vec::new(),
            state,
        });
        attempt(outcome)
    }

    fn attempt(outcome: Outcome) -> Box<Attempt> {
        Box::new(Attempt {
            outcome,
            connection: Some(Connection::default()),
            duration: Duration::from_secs(1),
            final_delivery: false,
        })
    }

    fn network(temporary: bool) -> Box<Attempt> {
        attempt(Outcome::Error(AttemptError::new(
            ErrorKind::Network,
            temporary,
            "refused",
        )))
    }

    #[test]
    fn which_results_pass_a_host_over() {
        use SmtpState::{Auth, Data, Ehlo, Eod, Mail, Rcpt, StartTls};
        for (code, state, passes) in [
            (421, SmtpState::Banner, true),
            (554, SmtpState::Banner, true),
            (450, Ehlo, true),
            (502, StartTls, true),
            (535, Auth, true),
            (421, Mail, true),
            (451, Mail, false),
            (550, Mail, false),
            (421, Rcpt, false),
            (450, Rcpt, false),
            (550, Rcpt, false),
            (421, Data, false),
            (554, Eod, false),
            (250, Eod, false),
        ] {
            let step = Walk::default().failed(reply(code, state), 2);
            assert_eq!(
                matches!(step, WalkStep::Next(1)),
                passes,
                "{code} to {state:?}"
            );
        }
        assert_eq!(Walk::default().failed(network(true), 2), WalkStep::Next(1));
    }

    #[test]
    fn a_lost_connection_after_the_envelope_ends_the_attempt() {
        let mut error = AttemptError::new(ErrorKind::Network, true, "reset");
        error.after_envelope = true;
        let lost = attempt(Outcome::Error(error));
        assert_eq!(Walk::default().failed(lost.clone(), 2), WalkStep::End(lost));
    }

    #[test]
    fn a_refusal_counts_only_if_no_host_is_merely_down() {
        let refused = reply(554, SmtpState::Banner);
        for (first, second, permanent) in [
            (network(true), refused.clone(), false),
            (refused.clone(), network(true), false),
            (refused.clone(), refused, true),
        ] {
            let mut walk = Walk::default();
            assert_eq!(walk.failed(first, 2), WalkStep::Next(1));
            let WalkStep::End(end) = walk.failed(second, 2) else {
                panic!("no end")
            };
            assert_eq!(end.outcome.is_permanent(), permanent);
            assert_eq!(end.duration, Duration::from_secs(2));
        }
    }
}
