//! From the scripts of all recipients to the reply, and to what is kept of the message.
//!
//! The reply is that of the outcome that counts most: a refusal, a delay, a quarantine, a deletion, a delivery
//! ([`Outcome`]). After a delay nothing is kept, since the client comes again with the whole message; after a refusal what
//! the other recipients' scripts queued stays queued, as with the eod hook.

use std::rc::Rc;
use std::sync::Arc;

use angarium_config::HookType;
use angarium_mail::edits::{Edits, Modified};
use angarium_queue::attempt::Outcome as Sent;
use angarium_queue::item::{Item, Pairs};
use angarium_queue::text::Text;
use angarium_runtime::Unit;
use angarium_runtime::array::Array;
use angarium_runtime::value::Value;
use angarium_smtp::client::State;
use angarium_smtp::server::StoreFailure;
use angarium_smtp::session::{Envelope, Recipient, Session};
use angarium_smtp::verdict::{Accept, EnhancedChoice, Function, ReplyOptions, Verdict};

use super::tls::TlsOf;
use super::turn::{Action, Copy, Outcome, Routing, Turn};
use crate::delivery::inline::{self, Surroundings};
use crate::delivery::server::Server;
use crate::hooks::options::Reader;
use crate::hooks::outbox::Wish;
use crate::hooks::session::{MailSource, SessionScripts};
use crate::hooks::smtp::params;
use crate::hooks::{eod, outbox};
use crate::log::Severity;
use crate::server::{Change, Decision, HookContext, Queued, StoredMail, queued};
use crate::worker::Worker;

const SCRIPT_ERROR: &[u8] = b"Internal error, try again later";

/// An action, and for which of the accepted recipients its script ran.
type Said<'a> = (&'a Recipient, Action);

impl SessionScripts {
    /// Runs `unit` for each recipient and puts together what they say.
    pub(in crate::hooks) async fn each_recipient(
        &self,
        worker: &Rc<Worker>,
        session: &Session,
        mail: &StoredMail,
        context: &mut HookContext,
        unit: &Arc<Unit>,
    ) -> Decision {
        let Some(envelope) = &session.transaction.envelope else {
            return Decision::only(Verdict::Error);
        };
        let transports = Rc::new(self.transports().clone());
        let id = session.transaction.id.as_str();
        let everybody = Everybody::of(envelope);
        let mut said: Vec<Said<'_>> = Vec::new();
        let mut made = Vec::new();
        let mut next = 1;
        let mut carried = Routing {
            sender: envelope.sender.clone(),
            sender_ip: session.connection.remote_ip,
            helo: session.helo.as_ref().map(|helo| helo.host.clone()),
            metadata: Pairs::default(),
            recipient: match envelope.recipients.first() {
                Some(first) => first.address.clone(),
                None => return Decision::only(Verdict::Error),
            },
            transport_id: String::new(),
            delay: std::time::Duration::ZERO,
        };
        for recipient in &envelope.recipients {
            let source = Arc::new(MailSource(mail.clone()));
            let message = eod::Mail::new(source, &session.transaction, Rc::clone(&transports));
            let message = match message {
                Ok(message) => Rc::new(message),
                Err(error) => {
                    let line = format!("the message cannot be read: {error}");
                    self.log(Severity::Error, id, &line);
                    return Decision::only(Verdict::Error);
                }
            };
            carried.recipient = recipient.address.clone();
            carried.transport_id.clone_from(&recipient.transport_id);
            carried.delay = std::time::Duration::ZERO;
            let variables = variables(session, envelope, &carried, &everybody, next);
            let turn = Rc::new(Turn {
                mail: Rc::clone(&message),
                transports: Rc::clone(&transports),
                routing: carried.clone().into(),
                actions: Default::default(),
            });
            let finished = self
                .run_unit(
                    worker,
                    unit,
                    HookType::Eod,
                    id,
                    variables,
                    context,
                    |host| {
                        if let Some(mut current) =
                            eod::current_mail(unit.library(), &message, session)
                        {
                            current.ip = Some(carried.sender_ip);
                            current.helo = carried.helo.clone().unwrap_or_default();
                            current.sender_domain = carried.sender.domain().to_owned();
                            host.extend(Rc::new(current));
                        }
                        host.extend(Rc::new(TlsOf {
                            info: session.tls.clone(),
                            tlsrpt: None,
                        }));
                        host.extend(Rc::clone(&message));
                        host.extend(Rc::clone(&turn));
                    },
                )
                .await;
            let mut actions = turn.actions.take();
            match finished.result {
                Err(_) => actions = vec![failed()],
                Ok(None) => match turn.copy(Reader::new("Deliver", &Value::None)) {
                    Ok(copy) => actions.push(Action {
                        outcome: Outcome::Deliver,
                        reply: ReplyOptions::default(),
                        copy: Some(copy),
                    }),
                    Err(_) => {
                        let transport = &turn.routing.borrow().transport_id;
                        let line =
                            format!("eodrcpt: there is no transport \"{transport}\" to deliver to");
                        self.log(Severity::Error, id, &line);
                        actions.push(failed());
                    }
                },
                Ok(Some(_)) if actions.is_empty() => {
                    actions.push(Action::bare(Outcome::Defer, ReplyOptions::default()));
                }
                Ok(Some(_)) => {}
            }
            for action in &actions {
                let place = finished
                    .decided
                    .as_deref()
                    .map(|place| format!(" at={place}"));
                let word = match action.outcome {
                    Outcome::Reject => "REJECT",
                    Outcome::Defer => "DEFER",
                    Outcome::Quarantine => "QUARANTINE",
                    Outcome::Delete => "DELETE",
                    Outcome::Deliver => continue,
                };
                let place = place.unwrap_or_default();
                let line = format!(
                    "hook eodrcpt action={word} recipient=<{}>{place}",
                    recipient.address
                );
                self.log(Severity::Info, id, &line);
            }
            next += actions.iter().filter(|action| queues(action)).count();
            said.extend(actions.into_iter().map(|action| (recipient, action)));
            made.extend(message.take_made());
            carried = turn.routing.borrow().clone();
        }
        self.send_in_line(worker, session, mail, &mut said).await;
        let Some(verdict) = merged(&said) else {
            return Decision::only(Verdict::Error);
        };
        if !eod::commits(&verdict) {
            return Decision::only(verdict);
        }
        match self.kept(worker, session, envelope, mail, said).await {
            Ok(mut queued) => {
                queued.extend(made);
                Decision {
                    verdict,
                    queued,
                    metadata: None,
                }
            }
            Err(failure) => {
                let line = format!("the changed message cannot be stored: {failure:?}");
                self.log(Severity::Error, id, &line);
                Decision::only(Verdict::Error)
            }
        }
    }

    /// Delivers what is not to be queued; the outcomes become those of the peers. When the message will be deferred anyhow,
    /// nothing is sent: it would be sent again.
    async fn send_in_line(
        &self,
        worker: &Rc<Worker>,
        session: &Session,
        mail: &StoredMail,
        said: &mut [Said<'_>],
    ) {
        let in_line = |copy: &Option<Copy>| copy.as_ref().is_some_and(|copy| copy.in_line);
        if matches!(merged(said), Some(Verdict::Defer(_)))
            || !said.iter().any(|(_, action)| in_line(&action.copy))
        {
            return;
        }
        let post = self.post(worker, &session.transaction.id);
        let around = Surroundings::of(worker, post.board.clone());
        let Some(envelope) = &session.transaction.envelope else {
            return;
        };
        for (recipient, action) in said {
            let Some(copy) = action.copy.take_if(|copy| copy.in_line) else {
                continue;
            };
            let refused = |function, outcome, text: String| {
                let reply = ReplyOptions::reason(text.as_bytes());
                (function, Action::bare(outcome, reply))
            };
            let domain = Text::from(copy.wish.recipient.domain());
            let live = post.live.upgrade();
            let to = live.as_ref().and_then(|live| {
                let settings = &live.settings;
                let key = Text::from(copy.wish.transport_id.as_str());
                let transport = settings.transports.get(&key)?;
                let mut server = Server::of_transport(transport, (*settings.client(&key)).clone());
                server.own = Arc::clone(&settings.own);
                let target = server.target(Some(&domain))?;
                Some((server, target))
            });
            let source = MailSource(mail.clone());
            let now = i64::try_from(worker.effects.clock.unix().as_secs()).unwrap_or(i64::MAX);
            let changed = Modified::new(source, Arc::new((*copy.edits).clone()), now);
            let size = copy.edits.modified_size();
            let item = copied(
                worker,
                session,
                (envelope, recipient),
                &copy.wish,
                (0, size),
            );
            let transaction = inline::transaction(&item);
            let (Some(live), Some((server, target)), Ok(changed), Ok(transaction)) =
                (live, to, changed, transaction)
            else {
                *action = failed();
                continue;
            };
            let (to, source) = ((&server, target), Arc::new(changed));
            let attempt = inline::send(&around, &live.settings, to, transaction, source).await;
            let (function, mut answer) = match attempt.outcome {
                Sent::Result(reply) => {
                    let (function, outcome) = match reply.code / 100 {
                        2 => (Function::Accept, Outcome::Deliver),
                        5 => (Function::Reject, Outcome::Reject),
                        _ => (Function::Defer, Outcome::Defer),
                    };
                    let lines = reply.reason.iter().map(|line| line.as_bytes().to_vec());
                    let mut options = ReplyOptions {
                        reason: lines.collect(),
                        ..ReplyOptions::default()
                    };
                    if reply.state.as_str() == State::Eod.as_str() {
                        options.code = function.check_code(i64::from(reply.code)).ok();
                        if let Some(status) = reply.enhanced {
                            let status =
                                [status.class, status.subject, status.detail].map(i64::from);
                            options.enhanced =
                                EnhancedChoice::from_numbers(&status).unwrap_or_default();
                        }
                    }
                    (function, Action::bare(outcome, options))
                }
                Sent::Error(error) if error.temporary => {
                    refused(Function::Defer, Outcome::Defer, error.message.to_string())
                }
                Sent::Error(error) => {
                    refused(Function::Reject, Outcome::Reject, error.message.to_string())
                }
            };
            // What the script says about the reply of an acceptance wins.
            if function == Function::Accept {
                let own = &action.reply;
                if own.reason.iter().any(|line| !line.is_empty()) {
                    answer.reply.reason.clone_from(&own.reason);
                }
                if own.code.is_some() || own.enhanced != EnhancedChoice::Default {
                    answer.reply.code = own.code;
                    answer.reply.enhanced = own.enhanced;
                }
            }
            answer.reply.disconnect = action.reply.disconnect;
            *action = answer;
        }
    }

    /// The copies that are queued.
    async fn kept(
        &self,
        worker: &Rc<Worker>,
        session: &Session,
        envelope: &Envelope,
        mail: &StoredMail,
        said: Vec<Said<'_>>,
    ) -> Result<Vec<Queued>, StoreFailure> {
        let mut last: Option<(Rc<Edits>, Change)> = None;
        let mut queued_copies = Vec::new();
        let copies = said
            .into_iter()
            .filter_map(|(recipient, action)| Some((recipient, action.copy?)));
        for (number, (recipient, copy)) in (1..).zip(copies) {
            // Copies with the same changes share what is stored of them.
            let change = match &last {
                Some((edits, change)) if *edits == copy.edits => change.clone(),
                _ => {
                    let change = outbox::change(self.store(), worker, mail, &copy.edits).await?;
                    last = Some((Rc::clone(&copy.edits), change.clone()));
                    change
                }
            };
            let size = copy.edits.modified_size();
            let parties = (envelope, recipient);
            let mut item = copied(worker, session, parties, &copy.wish, (number, size));
            item.subject = queued::subject(mail);
            item.senderip = Some(copy.sender_ip);
            item.senderhelo = copy.helo.map(Text::from);
            let mut wish = copy.wish;
            wish.dsn = item.dsn.clone();
            let origin = format!("the eodrcpt hook of server {}", self.server_id());
            wish.apply(&mut item, worker, &origin);
            queued_copies.push(Queued {
                item,
                mail: mail.clone(),
                change,
            });
        }
        Ok(queued_copies)
    }
}

/// The item of a copy, which goes on with what MAIL and RCPT have asked for; it has a queue number and a size.
fn copied(
    worker: &Worker,
    session: &Session,
    (envelope, recipient): (&Envelope, &Recipient),
    wish: &Wish,
    (number, size): (u64, u64),
) -> Item {
    let mut envelope = envelope.clone();
    envelope.sender = wish.sender.clone();
    let recipient = Recipient {
        address: wish.recipient.clone(),
        params: recipient.params.clone(),
        transport_id: wish.transport_id.clone(),
    };
    queued::item(worker, session, &envelope, &recipient, number, size)
}

/// What stands for a script that failed.
fn failed() -> Action {
    Action::bare(Outcome::Defer, ReplyOptions::reason(SCRIPT_ERROR))
}

/// Whether a copy is queued for it.
fn queues(action: &Action) -> bool {
    action.copy.as_ref().is_some_and(|copy| !copy.in_line)
}

/// The outcome that counts most, with the reply of the first who said it.
fn merged(said: &[Said<'_>]) -> Option<Verdict> {
    let (_, action) = said.iter().min_by_key(|(_, action)| action.outcome)?;
    let mut reply = action.reply.clone();
    // Whoever asks for the connection to be closed gets that.
    reply.disconnect = said.iter().any(|(_, action)| action.reply.disconnect);
    Some(match action.outcome {
        Outcome::Reject => Verdict::Reject(reply),
        Outcome::Defer => Verdict::Defer(reply),
        Outcome::Quarantine | Outcome::Delete | Outcome::Deliver => {
            Verdict::Accept(Box::new(Accept {
                reply,
                ..Accept::default()
            }))
        }
    })
}

/// All recipients as scripts see them; the lists are shared by all runs.
struct Everybody {
    addresses: Value,
    domains: Value,
}

impl Everybody {
    fn of(envelope: &Envelope) -> Everybody {
        let recipients = || envelope.recipients.iter().map(|known| &known.address);
        let list = |texts: &mut dyn Iterator<Item = Value>| Value::from(texts.collect::<Array>());
        Everybody {
            addresses: list(&mut recipients().map(|address| address.lower().into())),
            domains: list(&mut recipients().map(|address| address.domain().into())),
        }
    }
}

/// The variables of the hook; `next` is the number that the next copy gets.
fn variables(
    session: &Session,
    envelope: &Envelope,
    routing: &Routing,
    everybody: &Everybody,
    next: usize,
) -> Vec<(&'static str, Value)> {
    let connection = &session.connection;
    let user = session
        .auth
        .as_ref()
        .and_then(|auth| auth.username.as_deref());
    vec![
        ("senderip", routing.sender_ip.to_string().as_str().into()),
        ("senderport", u32::from(connection.remote_port).into()),
        ("serverip", connection.local_ip.to_string().as_str().into()),
        ("serverport", u32::from(connection.local_port).into()),
        ("serverid", connection.server_id.as_str().into()),
        (
            "senderhelo",
            routing.helo.as_deref().unwrap_or_default().into(),
        ),
        ("tlsstarted", session.tls.is_some().into()),
        ("saslauthed", session.auth.is_some().into()),
        ("saslusername", user.unwrap_or_default().into()),
        ("messageid", session.transaction.id.as_str().into()),
        ("sender", routing.sender.lower().as_str().into()),
        ("senderlocalpart", routing.sender.localpart().into()),
        ("senderdomain", routing.sender.domain().into()),
        ("senderparams", params(&envelope.params)),
        ("recipients", everybody.addresses.clone()),
        ("recipientdomains", everybody.domains.clone()),
        ("recipient", routing.recipient.lower().as_str().into()),
        ("recipientlocalpart", routing.recipient.localpart().into()),
        ("recipientdomain", routing.recipient.domain().into()),
        ("transportid", routing.transport_id.as_str().into()),
        ("actionid", next.into()),
    ]
}
