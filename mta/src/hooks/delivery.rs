//! The hooks of the queue, run as scripts.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use angarium_config::HookType;
use angarium_config::transport::SourceAddress;
use angarium_effects::LocalFuture;
use angarium_queue::item::{Item, Pairs};
use angarium_queue::outcome::{Cause, Verdict};
use angarium_queue::text::Text;
use angarium_runtime::Unit;
use angarium_runtime::host::{Host, Pool};
use angarium_runtime::value::Value;
use angarium_smtp::session::{PeerCert, TlsInfo};
use angarium_spool::Spool;

use super::compat::{self, Carried, QueueSetters, TransportFacts};
use super::eodrcpt::TlsOf;
use super::options::TransportIds;
use super::queue::{Delivered, Metadata, Predelivery, read_try, try_by_default};
use super::queue_variables;
use crate::delivery::{After, Before, Ended, QueueHook, QueueHooks};
use crate::scripts::{Finished, Run, Scripts, Services};
use crate::staging::{Stage, Stages};
use crate::worker::Worker;

/// What a run has beside its variables.
#[derive(Default)]
struct Extras {
    /// The message was delivered.
    delivered: bool,
    /// Those of older scripts.
    setters: Option<Rc<QueueSetters>>,
    tls: TlsOf,
}

/// The queue's scripts of one configuration.
pub struct QueueScripts {
    scripts: Arc<Scripts>,
    services: Services,
    spool: Spool,
    transports: TransportIds,
}

impl QueueScripts {
    /// The queue's scripts of `scripts`, for the messages in `spool`.
    #[must_use]
    pub fn new(scripts: Arc<Scripts>, services: Services, spool: Spool) -> QueueScripts {
        QueueScripts {
            transports: TransportIds(Arc::new(scripts.transports())),
            scripts,
            services,
            spool,
        }
    }

    /// `$message`
    fn message(&self, worker: &Worker, item: &Item) -> Value {
        let now = i64::try_from(worker.effects.clock.unix().as_secs()).unwrap_or(i64::MAX);
        let files = queue_variables::Files::in_spool(&self.spool, item, now);
        queue_variables::message(item, files)
    }

    /// What older scripts set with, where they may run.
    fn setters(
        &self,
        worker: &Worker,
        item: &Item,
        dsn: Option<Value>,
    ) -> Option<Rc<QueueSetters>> {
        if self.scripts.running().compat != 5 {
            return None;
        }
        let now = i64::try_from(worker.effects.clock.unix().as_secs()).unwrap_or(i64::MAX);
        let files = queue_variables::Files::in_spool(&self.spool, item, now);
        Some(Rc::new(QueueSetters::new(item, files, dsn)))
    }

    /// The transport of an item as older scripts see it.
    fn facts(&self, item: &Item) -> TransportFacts {
        let transports = &self.scripts.running().transports;
        let id = item.transportid.to_str();
        let found = transports.iter().find(|(known, _)| ***known == *id);
        let Some((_, transport)) = found else {
            return TransportFacts::default();
        };
        let connection = &transport.connection;
        let source = connection.sourceip.addresses.first();
        let book = self.scripts.addresses();
        TransportFacts {
            server: connection
                .server
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            port: connection.port,
            source: match source {
                Some(SourceAddress::Named(id)) => match book.get(id) {
                    Some(source) => source.address.to_string(),
                    None => id.to_string(),
                },
                Some(SourceAddress::Own(own)) => own.address.0.to_string(),
                None => String::new(),
            },
            retries: transport.retry.count,
        }
    }

    fn unit(&self, hook: HookType) -> Option<&Arc<Unit>> {
        let script = self.scripts.running().queue_hook(hook)?;
        self.scripts.unit(hook, &script.id)
    }

    /// Runs a hook with the item's metadata at hand; the metadata comes back when the script set it.
    async fn run(
        &self,
        worker: &Rc<Worker>,
        unit: &Arc<Unit>,
        hook: HookType,
        item: &Item,
        variables: Vec<(&'static str, Value)>,
        extras: Extras,
    ) -> (Finished, Option<Pairs>) {
        let metadata = Rc::new(Metadata::default());
        metadata.pairs.replace(item.metadata.clone());
        let id = item.id.to_string();
        let pool: Arc<dyn Pool> = Arc::clone(&worker.pool) as Arc<dyn Pool>;
        let run = Run {
            unit,
            hook,
            server: "",
            id: &id,
            variables,
        };
        let mailer = self.services.outbox.mailer(
            worker,
            None,
            &self.scripts,
            (hook, &id, &self.services.log),
        );
        let extend = |host: &Host| {
            mailer.install(host);
            host.extend(Rc::clone(&metadata));
            host.extend(Rc::new(self.scripts.addresses().clone()));
            host.extend(Rc::new(self.transports.clone()));
            if extras.delivered {
                host.extend(Rc::new(Delivered));
            }
            if let Some(setters) = &extras.setters {
                host.extend(Rc::clone(setters));
                host.extend(Rc::new(extras.tls));
            }
        };
        let finished = self
            .scripts
            .run(&self.services, &worker.effects, pool, run, extend)
            .await;
        let changed = metadata
            .changed
            .get()
            .then(|| metadata.pairs.borrow().clone());
        (finished, changed)
    }
}

/// The queue's scripts in force, and those of a stage for the messages that came in under it.
pub struct StagedScripts {
    /// Those in force.
    pub scripts: Arc<dyn QueueHooks>,
    /// The stage.
    pub stages: Arc<Stages>,
}

impl StagedScripts {
    fn of(&self, item: &Item) -> Arc<dyn QueueHooks> {
        let stage = item.stageid.as_ref().map(Text::as_bytes);
        let staged = self.stages.queue(stage);
        staged.unwrap_or_else(|| Arc::clone(&self.scripts))
    }
}

impl QueueHooks for StagedScripts {
    fn has(&self, hook: QueueHook) -> bool {
        let of_stage = |stage: Arc<Stage>| stage.queue.has(hook);
        self.scripts.has(hook) || self.stages.current().is_some_and(of_stage)
    }

    fn predelivery<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        item: &'a Item,
    ) -> LocalFuture<'a, Before> {
        let scripts = self.of(item);
        Box::pin(async move { scripts.predelivery(worker, item).await })
    }

    fn postdelivery<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        ended: &'a Ended,
        context: Option<Box<dyn Any>>,
    ) -> LocalFuture<'a, After> {
        let scripts = self.of(&ended.item);
        Box::pin(async move { scripts.postdelivery(worker, ended, context).await })
    }
}

/// The TLS layer of an attempt, for older scripts.
fn tls_of(cause: &Cause) -> TlsOf {
    let Cause::Attempt(attempt) = cause else {
        return TlsOf::default();
    };
    let connection = attempt.connection.as_ref();
    let Some(tls) = connection.and_then(|connection| connection.tls.as_ref()) else {
        return TlsOf::default();
    };
    let text = |text: &Option<Text>| {
        let text = text.as_ref();
        text.map(ToString::to_string).unwrap_or_default()
    };
    let peer_cert = tls.peercert.as_ref().map(|cert| PeerCert {
        chain: cert.chain.clone(),
        error: cert.error,
    });
    TlsOf {
        info: tls.started.then(|| TlsInfo {
            protocol: text(&tls.protocol),
            cipher: text(&tls.cipher),
            keysize: tls.keysize.map(u32::from).unwrap_or_default(),
            sni: None,
            peer_cert,
        }),
        tlsrpt: tls.tlsrpt,
    }
}

impl QueueHooks for QueueScripts {
    fn has(&self, hook: QueueHook) -> bool {
        self.unit(match hook {
            QueueHook::Predelivery => HookType::PreDelivery,
            QueueHook::Postdelivery => HookType::PostDelivery,
        })
        .is_some()
    }

    fn predelivery<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        item: &'a Item,
    ) -> LocalFuture<'a, Before> {
        Box::pin(async move {
            let Some(unit) = self.unit(HookType::PreDelivery) else {
                return Before {
                    verdict: Ok(try_by_default()),
                    metadata: None,
                    context: None,
                };
            };
            let mut variables = vec![
                ("arguments", queue_variables::predelivery_arguments(item)),
                ("message", self.message(worker, item)),
                ("context", Value::None),
            ];
            let setters = self.setters(worker, item, None);
            if setters.is_some() {
                let older = compat::predelivery_variables(item, &self.facts(item));
                variables.extend(older);
            }
            let extras = Extras {
                setters: setters.clone(),
                ..Extras::default()
            };
            let (finished, metadata) = self
                .run(worker, unit, HookType::PreDelivery, item, variables, extras)
                .await;
            let set = setters.as_ref().filter(|setters| setters.has_options());
            let verdict = match finished.result {
                Ok(None) if set.is_some() => {
                    let options = set.map(|set| set.with_options(&Value::None));
                    let options = options.unwrap_or_default();
                    let (book, names) = (self.scripts.addresses(), self.scripts.names());
                    match read_try(&options, Some(book), &*names) {
                        Ok(attempt) => Ok(Predelivery::Try(Box::new(attempt))),
                        Err(thrown) => Err(format!("{:?}", thrown.into_inner())),
                    }
                }
                Ok(None) => Ok(try_by_default()),
                Ok(Some(verdict)) => Ok(match verdict.downcast::<Predelivery>().map(|it| *it) {
                    Ok(Predelivery::Queue(mut again)) => {
                        again.origin = finished.decided.map(|place| place.into());
                        Predelivery::Queue(again)
                    }
                    Ok(verdict) => verdict,
                    Err(_) => try_by_default(),
                }),
                Err(error) => Err(error.message),
            };
            let context: Box<dyn Any> = match setters {
                Some(setters) => Box::new(setters.carried(finished.context)),
                None => Box::new(finished.context),
            };
            Before {
                verdict,
                metadata,
                context: Some(context),
            }
        })
    }

    fn postdelivery<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        ended: &'a Ended,
        context: Option<Box<dyn Any>>,
    ) -> LocalFuture<'a, After> {
        Box::pin(async move {
            let Some(unit) = self.unit(HookType::PostDelivery) else {
                return After {
                    verdict: Verdict::Default,
                    metadata: None,
                };
            };
            let arguments = queue_variables::postdelivery_arguments(
                &ended.item,
                &ended.cause,
                &ended.situation,
                ended.dsn_id.as_ref(),
                ended.grouping.as_ref(),
                &ended.tags,
                &ended.policies,
            );
            let mut variables = vec![
                ("arguments", arguments),
                ("message", self.message(worker, &ended.item)),
            ];
            let mut dsn = None;
            // Places that predelivery has taken are free now.
            match context.map(|context| context.downcast::<Carried>()) {
                Some(Ok(carried)) => {
                    dsn = carried.dsn;
                    variables.push(("context", carried.context));
                }
                Some(Err(context)) => {
                    if let Ok(context) = context.downcast::<Value>() {
                        variables.push(("context", *context));
                    }
                }
                None => {}
            }
            let setters = self.setters(worker, &ended.item, dsn);
            if setters.is_some() {
                let facts = self.facts(&ended.item);
                let older = compat::postdelivery_variables(
                    &ended.item,
                    &facts,
                    &ended.cause,
                    &ended.situation,
                );
                variables.extend(older);
            }
            let extras = Extras {
                delivered: ended.cause.is_success(),
                setters,
                tls: tls_of(&ended.cause),
            };
            let item = &ended.item;
            let (finished, metadata) = self
                .run(
                    worker,
                    unit,
                    HookType::PostDelivery,
                    item,
                    variables,
                    extras,
                )
                .await;
            let decided = finished.decided;
            let verdict = match finished.result {
                Ok(Some(verdict)) => match verdict.downcast::<Verdict>().map(|verdict| *verdict) {
                    Ok(Verdict::Queue(mut again)) => {
                        again.origin = decided.map(|place| place.into());
                        Verdict::Queue(again)
                    }
                    Ok(verdict) => verdict,
                    Err(_) => Verdict::Default,
                },
                // The end of the script and an error are the default action (hooks.md).
                Ok(None) | Err(_) => Verdict::Default,
            };
            After { verdict, metadata }
        })
    }
}
