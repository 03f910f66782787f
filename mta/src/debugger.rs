//! Debugging of scripts (mta.md 5.3): points at which a script tells its variables, and stops if somebody waits for it.
//!
//! [`Hub`] knows who waits and which scripts stand still; [`values`] puts variables into the form of the protocol. The
//! commands `d`, `e` and `f` ask it.

mod values;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use angarium_control::proto::HslBreakPointResponse as Record;
use angarium_control::proto::HslLogResponse;
use angarium_control::proto::hsl_break_point_response::Call;
use angarium_control::proto::hsl_log_response::Location;
use angarium_effects::Clock;
use angarium_runtime::debugger::{Debugger, Hit, Thrown};
use angarium_runtime::native::LocalFuture;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// Records that are kept for whoever asks later; older ones are forgotten.
const KEPT: usize = 1000;
/// Lines that a listener may leave unheard.
const HEARD: usize = 1000;

/// Where scripts and debuggers meet. Shared by threads.
#[derive(Debug, Default)]
pub struct Hub {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What nobody waited for.
    kept: VecDeque<Record>,
    waiter: Option<oneshot::Sender<Record>>,
    /// Scripts that stand still, the first one first.
    stopped: VecDeque<oneshot::Sender<()>>,
    /// Scripts stop even while nobody waits: their debugger comes back.
    patient: bool,
    /// What that debugger has not seen yet.
    unseen: VecDeque<Record>,
    /// No script comes any more.
    over: bool,
    /// Who hears what scripts say.
    listeners: Vec<mpsc::Sender<HslLogResponse>>,
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears what scripts say with `echo` from now on. What a listener does not take in time is lost to it.
    pub fn listen(&self) -> mpsc::Receiver<HslLogResponse> {
        let (say, heard) = mpsc::channel(HEARD);
        let mut state = self.state();
        state.listeners.retain(|listener| !listener.is_closed());
        state.listeners.push(say);
        heard
    }

    /// A script says something; `id` is what it works for.
    pub fn echo(&self, text: &[u8], id: &str) {
        let mut state = self.state();
        state.listeners.retain(|listener| {
            let said = HslLogResponse {
                location: None,
                text: text.to_vec(),
                id: id.to_owned(),
            };
            !matches!(listener.try_send(said), Err(TrySendError::Closed(_)))
        });
    }

    /// Lets scripts stop at every point, whether a debugger waits at that moment or not, until [`Hub::leave`].
    pub fn stop_always(&self) {
        self.state().patient = true;
    }

    /// The debugger is gone: all scripts go on, and stop no more.
    pub fn leave(&self) {
        let mut state = self.state();
        let unseen = std::mem::take(&mut state.unseen);
        for record in unseen {
            keep(&mut state.kept, record);
        }
        state.patient = false;
        state.waiter = None;
        state.stopped.clear();
    }

    /// No script comes any more: whoever waits, or will wait, hears nothing.
    pub fn end(&self) {
        self.leave();
        self.state().over = true;
    }

    /// Whether there is something that a debugger which comes back has not seen.
    pub fn has_unseen(&self) -> bool {
        !self.state().unseen.is_empty()
    }

    /// Waits for the next script at a point. The receiver hears nothing more when another waits instead, or when the
    /// debugging ends.
    pub fn wait(&self) -> oneshot::Receiver<Record> {
        let (tell, told) = oneshot::channel();
        let mut state = self.state();
        let Some(record) = state.unseen.pop_front() else {
            state.waiter = (!state.over).then_some(tell);
            return told;
        };
        if let Err(record) = tell.send(record) {
            state.unseen.push_front(record);
        }
        told
    }

    /// The oldest record that nobody waited for, of this debug session if one is named.
    pub fn poll(&self, session: &str) -> Option<Record> {
        let mut state = self.state();
        let fits = |record: &Record| session.is_empty() || record.debugid == session;
        let place = state.kept.iter().position(fits)?;
        state.kept.remove(place)
    }

    /// Lets the script go on that has stood still for the longest time. One that was ended meanwhile, by its limit of
    /// time, is passed over.
    pub fn go_on(&self) {
        let mut state = self.state();
        while let Some(release) = state.stopped.pop_front() {
            if release.send(()).is_ok() {
                return;
            }
        }
    }

    /// A script is at a point or throws. It stands still until the receiver hears something or its sender is gone; none: it
    /// goes on.
    fn meet(&self, record: Record, may_stop: bool) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state();
        let left = match state.waiter.take() {
            Some(waiter) => waiter.send(record).err(),
            None => Some(record),
        };
        if let Some(record) = left {
            if !state.patient {
                keep(&mut state.kept, record);
                return None;
            }
            keep(&mut state.unseen, record);
        }
        let (release, released) = oneshot::channel();
        may_stop.then(|| {
            state.stopped.push_back(release);
            released
        })
    }
}

fn keep(records: &mut VecDeque<Record>, record: Record) {
    if records.len() >= KEPT {
        records.pop_front();
    }
    records.push_back(record);
}

/// Watches one execution for a hub.
pub struct Watch {
    /// Where its debugger is.
    pub hub: Arc<Hub>,
    /// Dates the records.
    pub clock: Rc<dyn Clock>,
    /// The transaction or connection that the script works for.
    pub id: Rc<str>,
}

impl Watch {
    fn record(&self, location: Location, values: String, calls: Vec<String>) -> Record {
        Record {
            transactionid: self.id.to_string(),
            location: Some(location),
            time: self.clock.unix().as_secs_f64(),
            values,
            callstack: (calls.into_iter())
                .map(|function| Call { function })
                .collect(),
            ..Record::default()
        }
    }
}

impl Debugger for Watch {
    fn reached(&self, hit: Hit) -> LocalFuture<()> {
        let [beginline, begincolumn, endline, endcolumn] = hit.place.map(u64::from);
        let location = Location {
            beginline,
            endline,
            begincolumn,
            endcolumn,
            file: hit.file.to_text().into_owned(),
        };
        let values = values::variables(&hit.variables);
        let record = Record {
            id: hit.point.to_text().into_owned(),
            debugid: hit.session.to_text().into_owned(),
            ..self.record(location, values, hit.calls)
        };
        let released = self.hub.meet(record, true);
        Box::pin(async move {
            if let Some(released) = released {
                // A debugger that is gone lets the script go on too.
                let _ = released.await;
            }
        })
    }

    fn thrown(&self, thrown: Thrown<'_>) {
        let place = thrown.place.as_ref();
        let line = place.map_or(0, |place| u64::from(place.line));
        let column = place.map_or(0, |place| u64::from(place.column));
        let location = Location {
            beginline: line,
            endline: line,
            begincolumn: column,
            endcolumn: column,
            file: place
                .and_then(|place| place.file.as_deref())
                .unwrap_or_default()
                .to_owned(),
        };
        let values = values::thrown(thrown.value, thrown.uncaught);
        let record = self.record(location, values, thrown.calls);
        self.hub.meet(record, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, session: &str) -> Record {
        Record {
            id: id.to_owned(),
            debugid: session.to_owned(),
            ..Record::default()
        }
    }

    #[test]
    fn without_a_waiter_a_script_goes_on_and_its_record_is_kept() {
        let hub = Hub::default();
        for number in 0..KEPT + 2 {
            assert!(hub.meet(record(&number.to_string(), "s"), true).is_none());
        }
        assert_eq!(hub.poll("other"), None);
        assert_eq!(hub.poll("s").unwrap().id, "2", "the oldest are forgotten");
        assert_eq!(hub.poll("").unwrap().id, "3");
    }

    #[test]
    fn with_a_waiter_a_script_stops_until_it_is_let_go_on() {
        let hub = Hub::default();
        let mut waiting = hub.wait();
        let mut stopped = hub.meet(record("a", "s"), true).unwrap();
        assert_eq!(waiting.try_recv().unwrap().id, "a");
        assert!(stopped.try_recv().is_err());
        assert!(
            hub.meet(record("b", "s"), true).is_none(),
            "nobody waits for another"
        );
        hub.go_on();
        assert_eq!(stopped.try_recv(), Ok(()));
        hub.go_on();
    }

    #[test]
    fn a_script_that_was_ended_while_it_stood_still_is_passed_over() {
        let hub = Hub::default();
        let _waiting = hub.wait();
        drop(hub.meet(record("ended", ""), true).unwrap());
        let _waiting = hub.wait();
        let mut stopped = hub.meet(record("a", ""), true).unwrap();
        hub.go_on();
        assert_eq!(stopped.try_recv(), Ok(()));
    }

    #[test]
    fn listeners_that_are_gone_are_forgotten() {
        let hub = Hub::default();
        for _ in 0..10 {
            drop(hub.listen());
        }
        let mut heard = hub.listen();
        assert_eq!(hub.state().listeners.len(), 1);
        hub.echo(b"hello", "id");
        assert_eq!(heard.try_recv().unwrap().text, b"hello");
    }

    #[test]
    fn a_debugger_that_leaves_lets_all_go_on() {
        let hub = Hub::default();
        hub.stop_always();
        let mut first = hub.meet(record("a", ""), true).unwrap();
        let mut waiting = hub.wait();
        assert_eq!(waiting.try_recv().unwrap().id, "a");
        let mut other = hub.wait();
        hub.leave();
        assert!(
            first.try_recv().is_err() && other.try_recv().is_err(),
            "their senders are gone"
        );
        assert!(hub.meet(record("b", ""), true).is_none());
        assert_eq!(hub.poll("").unwrap().id, "b");
    }

    #[test]
    fn what_is_thrown_is_told_and_stops_nobody() {
        let hub = Hub::default();
        let mut waiting = hub.wait();
        assert!(hub.meet(record("", ""), false).is_none());
        assert!(waiting.try_recv().is_ok());
    }
}
