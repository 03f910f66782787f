//! The hooks of the queue, run as scripts.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use angarium_config::HookType;
use angarium_effects::LocalFuture;
use angarium_queue::item::{Item, Pairs};
use angarium_queue::outcome::Verdict;
use angarium_queue::text::Text;
use angarium_runtime::Unit;
use angarium_runtime::host::{Host, Pool};
use angarium_runtime::value::Value;
use angarium_spool::Spool;

use super::options::TransportIds;
use super::queue::{Delivered, Metadata, Predelivery, try_by_default};
use super::queue_variables;
use crate::delivery::{After, Before, Ended, QueueHook, QueueHooks};
use crate::scripts::{Finished, Run, Scripts, Services};
use crate::settings;
use crate::staging::{Stage, Stages};
use crate::worker::Worker;

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
        delivered: bool,
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
            host.extend(Rc::new(settings::addresses(self.scripts.running())));
            host.extend(Rc::new(self.transports.clone()));
            if delivered {
                host.extend(Rc::new(Delivered));
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
            let variables = vec![
                ("arguments", queue_variables::predelivery_arguments(item)),
                ("message", self.message(worker, item)),
                ("context", Value::None),
            ];
            let (finished, metadata) = self
                .run(worker, unit, HookType::PreDelivery, item, variables, false)
                .await;
            let verdict = match finished.result {
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
            let context: Box<dyn Any> = Box::new(finished.context);
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
            if let Some(context) = context.and_then(|context| context.downcast::<Value>().ok()) {
                variables.push(("context", *context));
            }
            let delivered = ended.cause.is_success();
            let item = &ended.item;
            let (finished, metadata) = self
                .run(
                    worker,
                    unit,
                    HookType::PostDelivery,
                    item,
                    variables,
                    delivered,
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
