//! An operator at the control socket: requests and answers as bytes, without the socket.

use std::rc::Rc;

use angarium::control::Alone;
use angarium_control::frame::{Answers, Kind, VERSION, request};
use angarium_control::{Message, proto};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::LocalSet;

/// Bytes that are under way.
const WINDOW: usize = 64 << 10;

/// A connection to the machine's control.
pub struct Console {
    stream: DuplexStream,
    answers: Answers,
    greeted: bool,
}

impl Console {
    /// Connects; the machine's side lives on its tasks.
    pub fn new(control: &Rc<Alone>, machine: &LocalSet) -> Console {
        let (stream, theirs) = tokio::io::duplex(WINDOW);
        machine.spawn_local(control.serve(Box::new(theirs)));
        Console {
            stream,
            answers: Answers::default(),
            greeted: false,
        }
    }

    /// A request and its answer.
    ///
    /// # Errors
    /// What the machine says, or that it has gone.
    pub async fn call<T: Message + Default>(
        &mut self,
        letter: u8,
        body: Option<&[u8]>,
    ) -> Result<T, String> {
        let gone = |_| "the machine has gone".to_owned();
        if !self.greeted {
            self.greeted = true;
            self.stream.write_all(&VERSION).await.map_err(gone)?;
        }
        let frame = request(letter, body);
        self.stream.write_all(&frame).await.map_err(gone)?;
        let mut buffer = vec![0; WINDOW];
        loop {
            match self.answers.take().map_err(|error| error.to_string())? {
                Some(answer) => match answer.kind {
                    Kind::Done => {
                        return T::decode(&answer.data[..]).map_err(|error| error.to_string());
                    }
                    Kind::Failed => {
                        return Err(String::from_utf8_lossy(&answer.data).into_owned());
                    }
                    Kind::Record => {}
                },
                None => match self.stream.read(&mut buffer).await {
                    Ok(count) if count > 0 => self.answers.feed(&buffer[..count]),
                    _ => return Err("the machine has gone".to_owned()),
                },
            }
        }
    }

    /// The same with a message.
    pub async fn ask<T: Message + Default>(
        &mut self,
        letter: u8,
        message: &impl Message,
    ) -> Result<T, String> {
        self.call(letter, Some(&message.encode_to_vec())).await
    }

    /// All messages in the queue.
    pub async fn list(&mut self) -> Result<Vec<Listed>, String> {
        let wanted = proto::QueueListRequest {
            paging: Some(proto::PagingRequest {
                offset: 0,
                limit: 1_000_000,
            }),
            ..proto::QueueListRequest::default()
        };
        let listed: proto::QueueListResponse = self.ask(b'F', &wanted).await?;
        Ok(listed.items.into_iter().map(Listed::new).collect())
    }

    /// Whether something keeps a message that is in the queue; an error: nobody knows what.
    pub async fn why(&mut self, id: &str) -> Result<(), String> {
        let (transaction, queue) = id.split_once(':').unwrap_or_default();
        let wanted = proto::QueueWhyRequest {
            id: Some(proto::QueueItemId {
                transaction: transaction.to_owned(),
                queue: queue.parse().unwrap_or_default(),
            }),
        };
        let answer: Result<proto::QueueWhyResponse, _> = self.ask(b'1', &wanted).await;
        match answer {
            Ok(_) => Ok(()),
            Err(text) if text.contains("not in the queue") || text.contains("gone") => Ok(()),
            Err(text) => Err(format!("why {id}: {text}")),
        }
    }

    /// What `audit` finds: the state and the finding of each item.
    pub async fn audit(&mut self) -> Result<Vec<proto::queue_audit_response::Finding>, String> {
        let audit: proto::QueueAuditResponse = self.call(b'2', None).await?;
        Ok(audit.findings)
    }
}

/// A message in the listing.
pub struct Listed {
    /// Its id, as text.
    pub id: String,
    /// The id of its transaction.
    pub transaction: String,
    pub recipient: String,
    pub null_sender: bool,
    /// It waits in HOLD or UPDATE.
    pub frozen: bool,
}

impl Listed {
    fn new(item: proto::queue_list_response::Item) -> Listed {
        let id = item.id.unwrap_or_default();
        let address = |of: Option<proto::Address>| match of.unwrap_or_default() {
            of if of.localpart.is_empty() && of.domain.is_empty() => String::new(),
            of => format!("{}@{}", of.localpart, of.domain),
        };
        Listed {
            frozen: matches!(
                item.state,
                Some(proto::queue_list_response::item::State::Freeze(_))
            ),
            null_sender: address(item.sender).is_empty(),
            recipient: address(item.recipient),
            id: format!("{}:{}", id.transaction, id.queue),
            transaction: id.transaction,
        }
    }
}

/// A condition that chooses one message.
pub fn only(id: &str) -> Option<proto::Condition> {
    let (transaction, queue) = id.split_once(':')?;
    let id = proto::condition::Id {
        transaction: transaction.to_owned(),
        queue: queue.parse().ok()?,
        exclude: false,
    };
    Some(proto::Condition {
        ids: vec![id],
        ..proto::Condition::default()
    })
}
