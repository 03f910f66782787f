//! What decides about sessions: the hooks, as the session driver asks them.

use std::any::Any;
use std::rc::Rc;

use angarium_effects::LocalFuture;
use angarium_runtime::value::Value;
use angarium_smtp::server::{Closing, Hook};
use angarium_smtp::session::Session;
use angarium_smtp::verdict::Verdict;

use super::store::{Queued, StoredMail};
use crate::worker::Worker;

/// Runs the hooks of one virtual server.
///
/// One value serves all workers, so that compiled scripts exist once per process; what a call needs
/// of its thread comes with `worker`. A reload makes a new value: connections accepted after it use
/// it, those accepted before keep the one they began with.
///
/// At most one call runs per connection at a time. There is no time limit on a call; the budget of
/// the script bounds it. A call is dropped unfinished only when the server stops and its grace has
/// passed.
///
/// The session's times (`Envelope::began`) are readings of the worker's [`Clock::monotonic`].
///
/// [`Clock::monotonic`]: angarium_effects::Clock::monotonic
pub trait Hooks: Send + Sync {
    /// Answers for the phase of `hook`, which is any but [`Hook::Eod`].
    ///
    /// It is asked only for phases that the machine's configuration says are bound
    /// (`angarium_smtp::server::Config::hooks`); for a recipient domain without a hook the answer is
    /// [`Verdict::NoHook`].
    fn run<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        session: &'a Session,
        hook: &'a Hook,
        context: &'a mut HookContext,
    ) -> LocalFuture<'a, Verdict>;

    /// Answers for the end of data. It is asked for every message, so that without a script the
    /// recipients are queued all the same: [`Decision::queue_all`].
    ///
    /// What the decision queues is durable before the client gets its reply; if it cannot be made
    /// so, the client gets 451 or 452 in place of the verdict. With Defer, the implicit end and an
    /// error nothing is queued, whatever the decision holds.
    fn eod<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        session: &'a Session,
        mail: &'a StoredMail,
        context: &'a mut HookContext,
    ) -> LocalFuture<'a, Decision>;

    /// The same for a message that was submitted over HTTP, with what its request said besides.
    fn submission<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        session: &'a Session,
        mail: &'a StoredMail,
        submission: &'a Submission,
        context: &'a mut HookContext,
    ) -> LocalFuture<'a, Decision> {
        let _ = submission;
        self.eod(worker, session, mail, context)
    }

    /// Hears of the end of a connection for which the connect phase was reached.
    fn disconnect<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        session: &'a Session,
        closing: &'a Closing,
        context: &'a mut HookContext,
    ) -> LocalFuture<'a, ()>;
}

/// A request that submitted a message.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// `metadata` of its options.
    pub metadata: Option<Value>,
    /// The method.
    pub method: String,
    /// The path of the target.
    pub path: String,
    /// What follows the `?` of the target.
    pub query: String,
    /// Its fields, names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
}

/// The answer for the end of data.
#[derive(Debug)]
pub struct Decision {
    /// What the client is told.
    pub verdict: Verdict,
    /// The recipients' copies to be made durable first.
    pub queued: Vec<Queued>,
    /// What the answer to a submission says besides, a JSON text.
    pub metadata: Option<String>,
}

impl Decision {
    /// A decision that queues nothing.
    #[must_use]
    pub fn only(verdict: Verdict) -> Decision {
        Decision {
            verdict,
            queued: Vec::new(),
            metadata: None,
        }
    }

    /// The decision where no eod hook is bound: every recipient is queued on its transport and the
    /// message accepted.
    #[must_use]
    pub fn queue_all(worker: &Worker, session: &Session, mail: &StoredMail) -> Decision {
        Decision {
            verdict: Verdict::NoHook,
            queued: super::queued::queue_all(worker, session, mail),
            metadata: None,
        }
    }
}

/// The script's `$context`: one value per connection, for all of its phases (hooks.md, C2).
#[derive(Default)]
pub struct HookContext(Option<Box<dyn Any>>);

impl HookContext {
    /// The value that [`HookContext::set`] stored, if it was of this type.
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.0.as_ref()?.downcast_ref()
    }

    /// The same, to be changed.
    pub fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.0.as_mut()?.downcast_mut()
    }

    /// Replaces the value.
    pub fn set<T: 'static>(&mut self, value: T) {
        self.0 = Some(Box::new(value));
    }
}

/// Hooks that run no script: every phase goes on and every message is queued for its recipients.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn run<'a>(
        &'a self,
        _worker: &'a Rc<Worker>,
        _session: &'a Session,
        _hook: &'a Hook,
        _context: &'a mut HookContext,
    ) -> LocalFuture<'a, Verdict> {
        Box::pin(std::future::ready(Verdict::NoHook))
    }

    fn eod<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        session: &'a Session,
        mail: &'a StoredMail,
        _context: &'a mut HookContext,
    ) -> LocalFuture<'a, Decision> {
        Box::pin(std::future::ready(Decision::queue_all(
            worker, session, mail,
        )))
    }

    fn disconnect<'a>(
        &'a self,
        _worker: &'a Rc<Worker>,
        _session: &'a Session,
        _closing: &'a Closing,
        _context: &'a mut HookContext,
    ) -> LocalFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}
