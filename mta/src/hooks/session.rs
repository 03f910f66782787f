//! The hooks of a session, run as scripts.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use angarium_config::{HookType, Script, Server};
use angarium_effects::LocalFuture;
use angarium_mail::edits::Edits;
use angarium_mail::source::Source;
use angarium_queue::text::Text;
use angarium_runtime::Unit;
use angarium_runtime::host::{Host, Pool};
use angarium_runtime::value::Value;
use angarium_smtp::param::Params;
use angarium_smtp::server::{Closing, Hook, StoreFailure};
use angarium_smtp::session::{Recipient, Session};
use angarium_smtp::verdict::Verdict;

use super::eodrcpt::TlsOf;
use super::phase::PhaseCall;
use super::{compat, eod, outbox, variables};
use crate::delivery::Line;
use crate::log::Severity;
use crate::scripts::{Finished, Run, Scripts, Services};
use crate::server::{
    Change, Decision, HookContext, Hooks, Queued, Store, StoredMail, Submission, queued,
};
use crate::worker::Worker;

/// The scripts of one server.
pub struct SessionScripts {
    scripts: Arc<Scripts>,
    services: Services,
    server: Server,
    store: Arc<dyn Store>,
    transports: BTreeSet<String>,
    /// The stage that messages come in under.
    stage: Option<Text>,
}

impl SessionScripts {
    /// The scripts that `server` runs.
    #[must_use]
    pub fn new(
        scripts: Arc<Scripts>,
        services: Services,
        server: Server,
        store: Arc<dyn Store>,
    ) -> SessionScripts {
        let transports = scripts.transports();
        SessionScripts {
            scripts,
            services,
            server,
            store,
            transports,
            stage: None,
        }
    }

    /// The same for a stage: messages carry its id.
    #[must_use]
    pub fn staged(mut self, id: &str) -> SessionScripts {
        self.stage = Some(id.into());
        self
    }

    /// Ids of the transports.
    pub(super) fn transports(&self) -> &BTreeSet<String> {
        &self.transports
    }

    /// Where messages are kept.
    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Id of the server.
    pub(super) fn server_id(&self) -> &str {
        &self.server.id
    }

    /// Writes a line to the log, about a connection or transaction.
    pub(super) fn log(&self, severity: Severity, id: &str, line: &str) {
        self.services.log.line(severity, id, line);
    }

    /// The way of mail out of the eod hook.
    pub(super) fn post(&self, worker: &Rc<Worker>, id: &str) -> outbox::Post {
        let store = Arc::downgrade(&self.store);
        let log = (HookType::Eod, id, &self.services.log);
        self.services
            .outbox
            .mailer(worker, Some(store), &self.scripts, log)
    }

    fn unit(&self, hook: HookType, domain: &str) -> Option<&Arc<Unit>> {
        let script: &Script = self
            .scripts
            .running()
            .session_hook(&self.server, hook, domain)?;
        self.scripts.unit(hook, &script.id)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what a run is made of; three calls"
    )]
    pub(super) async fn run_unit(
        &self,
        worker: &Rc<Worker>,
        unit: &Arc<Unit>,
        hook: HookType,
        id: &str,
        mut variables: Vec<(&'static str, Value)>,
        context: &mut HookContext,
        extend: impl FnOnce(&Host),
    ) -> Finished {
        variables.push((
            "context",
            context.get::<Value>().cloned().unwrap_or_default(),
        ));
        let pool: Arc<dyn Pool> = Arc::clone(&worker.pool) as Arc<dyn Pool>;
        let run = Run {
            unit,
            hook,
            server: &self.server.id,
            id,
            variables,
        };
        let store = Arc::downgrade(&self.store);
        let mailer = self.services.outbox.mailer(
            worker,
            Some(store),
            &self.scripts,
            (hook, id, &self.services.log),
        );
        let extend = |host: &Host| {
            extend(host);
            mailer.install(host);
        };
        let finished = self
            .scripts
            .run(&self.services, &worker.effects, pool, run, extend)
            .await;
        context.set(finished.context.clone());
        finished
    }

    /// The verdict of a finished run, and a line in the log for each refusal.
    fn verdict(&self, hook: HookType, id: &str, finished: Finished) -> Verdict {
        let verdict = match finished.result {
            Ok(None) => Verdict::End,
            Ok(Some(verdict)) => verdict
                .downcast::<Verdict>()
                .map_or(Verdict::End, |verdict| *verdict),
            Err(_) => Verdict::Error,
        };
        let (word, reply) = match &verdict {
            Verdict::Reject(reply) => ("REJECT", reply),
            Verdict::Defer(reply) => ("DEFER", reply),
            Verdict::Reply { reply, .. } if reply.code.is_some_and(|code| code >= 400) => {
                ("REPLY", reply)
            }
            _ => return verdict,
        };
        let reason = reply.reason.join(&b'\n');
        let line = Line::new(&format!("hook {hook}"))
            .with("action", word)
            .maybe("at", finished.decided)
            .maybe("code", reply.code);
        let line = match reason.is_empty() {
            true => line,
            false => line.text("reason", &String::from_utf8_lossy(&reason)),
        };
        self.services.log.line(Severity::Info, id, line.as_str());
        verdict
    }

    async fn phase(
        &self,
        worker: &Rc<Worker>,
        session: &Session,
        hook: &Hook,
        context: &mut HookContext,
    ) -> Verdict {
        let id = session.transaction.id.as_str();
        let Some(call) = PhaseCall::of(session, hook) else {
            return Verdict::NoHook;
        };
        let Some(unit) = self.unit(call.hook, call.domain) else {
            return Verdict::NoHook;
        };
        let (kind, mut variables) = (call.hook, call.variables);
        if self.scripts.running().compat != 5 {
            let finished = self
                .run_unit(worker, unit, kind, id, variables, context, |_| {})
                .await;
            return self.verdict(kind, id, finished);
        }
        variables.extend(compat::session_variables(session, hook));
        let setters = Rc::new(compat::Setters::for_hook(hook));
        let finished = self
            .run_unit(worker, unit, kind, id, variables, context, |host| {
                host.extend(Rc::clone(&setters));
                host.extend(Rc::new(TlsOf {
                    info: session.tls.clone(),
                    tlsrpt: None,
                }));
            })
            .await;
        setters.applied(self.verdict(kind, id, finished))
    }

    async fn end_of_data(
        &self,
        worker: &Rc<Worker>,
        session: &Session,
        mail: &StoredMail,
        submission: Option<&Submission>,
        context: &mut HookContext,
    ) -> Decision {
        if self.server.phases.eod.perrecipient {
            let script = self
                .scripts
                .running()
                .session_hook(&self.server, HookType::Eod, "");
            let unit = script.and_then(|script| self.scripts.unit_per_recipient(&script.id));
            return match unit {
                Some(unit) => {
                    self.each_recipient(worker, session, mail, context, unit)
                        .await
                }
                None => Decision::queue_all(worker, session, mail),
            };
        }
        let Some(unit) = self.unit(HookType::Eod, "") else {
            return Decision::queue_all(worker, session, mail);
        };
        let id = session.transaction.id.as_str();
        let source = Arc::new(MailSource(mail.clone()));
        let transports = Rc::new(self.transports.clone());
        let message = match eod::Mail::new(source, &session.transaction, transports) {
            Ok(message) => Rc::new(message),
            Err(error) => {
                self.services.log.line(
                    Severity::Error,
                    id,
                    &format!("the message cannot be read: {error}"),
                );
                return Decision::only(Verdict::Error);
            }
        };
        let began = session
            .transaction
            .envelope
            .as_ref()
            .map(|envelope| queued::began(worker, envelope).as_secs_f64());
        let arguments = variables::Map::default()
            .with("mail", eod::mail_value(unit.library(), &message))
            .maybe(
                "metadata",
                submission.and_then(|submission| submission.metadata.clone()),
            )
            .maybe("http", submission.map(variables::http));
        let mut variables = vec![
            ("arguments", arguments.into()),
            ("connection", variables::connection(session, true)),
            ("transaction", variables::transaction(session, began)),
        ];
        if self.scripts.running().compat == 5 {
            let hook = Hook::Eod { size: mail.len() };
            variables.extend(compat::session_variables(session, &hook));
            for (name, value) in &mut variables {
                if *name == "transaction" {
                    *value = compat::with_recipientparams(value);
                }
            }
        }
        let finished = self
            .run_unit(
                worker,
                unit,
                HookType::Eod,
                id,
                variables,
                context,
                |host| {
                    let current = eod::current_mail(unit.library(), &message, session);
                    if let Some(current) = current {
                        host.extend(Rc::new(current));
                    }
                    host.extend(Rc::clone(&message));
                },
            )
            .await;
        let verdict = self.verdict(HookType::Eod, id, finished);
        if !eod::commits(&verdict) {
            if matches!(verdict, Verdict::End) {
                self.services.log.line(
                    Severity::Error,
                    id,
                    "eod error: the script ended without Accept, Reject or Defer",
                );
            }
            return Decision::only(verdict);
        }
        let copies = message.take_queued();
        let made = message.take_made();
        if copies.is_empty() && made.is_empty() && matches!(verdict, Verdict::Accept(_)) {
            self.services.log.line(
                Severity::Notice,
                id,
                "eod accepted the message without queueing it",
            );
        }
        match self.copies(worker, session, mail, &message, copies).await {
            Ok(mut queued) => {
                queued.extend(made);
                Decision {
                    verdict,
                    queued,
                    metadata: message.take_answer(),
                }
            }
            Err(failure) => {
                self.services.log.line(
                    Severity::Error,
                    id,
                    &format!("the changed message cannot be stored: {failure:?}"),
                );
                Decision::only(Verdict::Error)
            }
        }
    }

    /// Has messages carry the stage that they came in under.
    fn mark(&self, mut decision: Decision) -> Decision {
        if let Some(stage) = &self.stage {
            for queued in &mut decision.queued {
                queued.item.stageid = Some(stage.clone());
            }
        }
        decision
    }

    /// The script's `queue()` calls as copies for the store.
    async fn copies(
        &self,
        worker: &Rc<Worker>,
        session: &Session,
        mail: &StoredMail,
        message: &eod::Mail,
        copies: Vec<eod::Queued>,
    ) -> Result<Vec<Queued>, StoreFailure> {
        let Some(envelope) = &session.transaction.envelope else {
            return Ok(Vec::new());
        };
        let subject = message.subject();
        // Copies with the same changes share what is stored of them.
        let mut last: Option<(Rc<Edits>, Change)> = None;
        let mut queued_copies = Vec::with_capacity(copies.len());
        for copy in copies {
            let change = match &last {
                Some((edits, change)) if Rc::ptr_eq(edits, &copy.edits) => change.clone(),
                _ => {
                    let change = outbox::change(&*self.store, worker, mail, &copy.edits).await?;
                    last = Some((Rc::clone(&copy.edits), change.clone()));
                    change
                }
            };
            let mut envelope = envelope.clone();
            envelope.sender = copy.wish.sender.clone();
            let recipient = Recipient {
                address: copy.wish.recipient.clone(),
                params: Params::default(),
                transport_id: copy.wish.transport_id.clone(),
            };
            let size = copy.edits.modified_size();
            let mut item = queued::item(worker, session, &envelope, &recipient, copy.number, size);
            item.subject = subject.as_deref().map(Into::into);
            let origin = format!("queue() in the eod hook of server {}", self.server.id);
            copy.wish.apply(&mut item, worker, &origin);
            queued_copies.push(Queued {
                item,
                mail: mail.clone(),
                change,
            });
        }
        Ok(queued_copies)
    }
}

/// A stored message as the mail library reads it.
#[derive(Debug, Clone)]
pub struct MailSource(pub StoredMail);

impl Source for MailSource {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.source().read_at(offset, buf)
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        self.0.source().as_bytes()
    }
}

impl Hooks for SessionScripts {
    fn run<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        session: &'a Session,
        hook: &'a Hook,
        context: &'a mut HookContext,
    ) -> LocalFuture<'a, Verdict> {
        Box::pin(self.phase(worker, session, hook, context))
    }

    fn eod<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        session: &'a Session,
        mail: &'a StoredMail,
        context: &'a mut HookContext,
    ) -> LocalFuture<'a, Decision> {
        let decision = self.end_of_data(worker, session, mail, None, context);
        Box::pin(async move { self.mark(decision.await) })
    }

    fn submission<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        session: &'a Session,
        mail: &'a StoredMail,
        submission: &'a Submission,
        context: &'a mut HookContext,
    ) -> LocalFuture<'a, Decision> {
        let decision = self.end_of_data(worker, session, mail, Some(submission), context);
        Box::pin(async move { self.mark(decision.await) })
    }

    fn disconnect<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        session: &'a Session,
        closing: &'a Closing,
        context: &'a mut HookContext,
    ) -> LocalFuture<'a, ()> {
        Box::pin(async move {
            let Some(unit) = self.unit(HookType::Disconnect, "") else {
                return;
            };
            let variables = vec![
                ("arguments", variables::disconnect_arguments(closing)),
                ("connection", variables::connection(session, true)),
                ("transaction", angarium_runtime::array::Array::new().into()),
            ];
            // Nothing can be said to the client any more: errors are in the log.
            self.run_unit(
                worker,
                unit,
                HookType::Disconnect,
                &session.connection.id,
                variables,
                context,
                |_| {},
            )
            .await;
        })
    }
}
