//! The trial of an eod hook that runs for each recipient (`phases.eod.perrecipient`): the session's own way of running it
//! decides, over a store that keeps nothing.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use angarium_config::{HookType, Server};
use angarium_effects::system::SystemClock;
use angarium_effects::{Clock as _, LocalFuture};
use angarium_queue::time::Timestamp;
use angarium_smtp::server::StoreFailure;

use super::assign::Assignments;
use super::dialogue::{Ask, Dialogue};
use super::{Shown, Trial, shown, word};
use crate::cli::failure::Failure;
use crate::hooks::eod;
use crate::hooks::session::SessionScripts;
use crate::server::{
    Change, Decision, HookContext, Hooks as _, MailWriter, Queued, Store, StoredMail,
};
use crate::worker::Worker;

/// The context of such a hook.
pub(super) const CONTEXT: &str = "eodrcpt";

impl Trial {
    /// Runs the eod hook of `server` for the recipient.
    pub(super) async fn each(
        &self,
        server: &Server,
        set: &Assignments,
        mail: &[u8],
    ) -> Result<(), Failure> {
        let mut dialogue = Dialogue::new(HookType::Eod, server, &self.transport(set), set, mail)?;
        let Ask::Eod { session, mail } = dialogue.reach()? else {
            return Err(Failure::Failed("the eod hook does not run".to_owned()));
        };
        let scripts = SessionScripts::new(
            Arc::clone(&self.scripts),
            self.services.clone(),
            server.clone(),
            Arc::new(NoStore),
        );
        let (worker, _stopper) = Worker::alone(self.effects.clone(), Arc::clone(&self.pool));
        let mail = StoredMail::new(Arc::new(mail));
        let mut context = HookContext::default();
        let Decision {
            verdict, queued, ..
        } = scripts.eod(&worker, &session, &mail, &mut context).await;
        let (failed, decided) = {
            let story = self.heard.story();
            (story.failed, story.decided.clone())
        };
        let now = Timestamp::from_unix(SystemClock.unix());
        let mut text = shown(word(&verdict), decided.as_deref());
        let commits = eod::commits(&verdict);
        for line in dialogue.answer(verdict).lines() {
            text.push_str(&format!("{:<9}{line}\n", "reply"));
        }
        for Queued { item, change, .. } in &queued {
            let shown = Shown {
                number: item.id.queue,
                sender: item.sender.to_string(),
                recipient: item.recipient.to_string(),
                transport: &item.transportid.to_str(),
                hold: item.hold,
                delay: item.retryts.map_or(Duration::ZERO, |at| {
                    Duration::from_secs_f64(at.since(now).as_secs_f64().ceil())
                }),
                changed: (!matches!(change, Change::None)).then_some(item.size),
            };
            text.push_str(&shown.line(commits));
        }
        self.finish(text, failed)
    }
}

/// Keeps what a script writes for as long as the trial lasts.
struct NoStore;

impl Store for NoStore {
    fn refusal(&self, _worker: &Worker) -> Option<String> {
        None
    }

    fn begin(&self, _worker: &Rc<Worker>) -> Result<Box<dyn MailWriter>, StoreFailure> {
        Ok(Box::new(InMemory(Vec::new())))
    }

    fn commit<'a>(
        &'a self,
        _worker: &'a Rc<Worker>,
        _queued: Vec<Queued>,
    ) -> LocalFuture<'a, Result<(), StoreFailure>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

struct InMemory(Vec<u8>);

impl MailWriter for InMemory {
    fn append(&mut self, bytes: Vec<u8>) -> LocalFuture<'_, Result<(), StoreFailure>> {
        self.0.extend(bytes);
        Box::pin(std::future::ready(Ok(())))
    }

    fn finish(self: Box<Self>) -> LocalFuture<'static, Result<StoredMail, StoreFailure>> {
        Box::pin(std::future::ready(Ok(StoredMail::new(Arc::new(self.0)))))
    }
}
