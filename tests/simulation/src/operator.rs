//! What operators do meanwhile: hold, retry, bounce and delete messages, take them out into files and put them back.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use angarium_control::proto::{
    self, ActionType, Freeze, Queue, queue_import_request as import, queue_update_request as update,
};
use angarium_effects::disk::{Disk as _, SimDisk, read_file};

use crate::console::{Console, only};
use crate::dice::Dice;
use crate::ledger::Ledger;
use crate::trace::Trace;

/// Where the spool puts messages that are taken out.
const FOLDER: &str = "/spool/queue/unload";
/// The longest such file.
const LONGEST: u64 = 8 << 20;

pub struct Operator {
    pub console: Console,
    pub disk: SimDisk,
    pub dice: Dice,
    pub ledger: Rc<RefCell<Ledger>>,
    pub trace: Trace,
    /// Files of messages, as the machine has named them.
    pub files: Rc<RefCell<Vec<PathBuf>>>,
}

impl Operator {
    /// Touches some message, or puts one back.
    pub async fn wish(mut self) {
        if self.dice.chance(200) {
            let files = self.files.borrow().clone();
            if !files.is_empty() {
                let path = self.dice.pick(&files).clone();
                self.load(&path).await;
                return;
            }
        }
        let Ok(items) = self.console.list().await else {
            return;
        };
        let items: Vec<String> = (items.into_iter())
            .filter(|item| !item.null_sender)
            .map(|item| item.id)
            .collect();
        if items.is_empty() {
            return;
        }
        let id = self.dice.pick(&items).clone();
        let task = match self.dice.below(16) {
            0..4 => moved(update::r#move::To::Freeze(Freeze::Hold as i32)),
            4..7 => moved(update::r#move::To::Queue(Queue::Active as i32)),
            7 => moved(update::r#move::To::Freeze(Freeze::Update as i32)),
            8 => update::Task::Actiontype(ActionType::Bounce as i32),
            9 => {
                // It may be gone before we hear of it.
                self.ledger.borrow_mut().delete(id.clone());
                let task = update::Task::Actiontype(ActionType::Delete as i32);
                if self.update(&id, task).await == Some(0) {
                    self.ledger.borrow_mut().keep(&id);
                }
                return;
            }
            _ => return self.unload(&id).await,
        };
        self.update(&id, task).await;
    }

    /// Changes a message; gives how many were, if there is an answer.
    async fn update(&mut self, id: &str, task: update::Task) -> Option<u64> {
        let said = format!("{task:?}");
        let wanted = proto::QueueUpdateRequest {
            conditions: only(id),
            task: Some(task),
            ..proto::QueueUpdateRequest::default()
        };
        let answer: Result<proto::QueueUpdateResponse, _> = self.console.ask(b'G', &wanted).await;
        self.trace
            .note(format!("operator: {said} {id}: {answer:?}"));
        answer.ok().map(|answer| answer.affected)
    }

    async fn unload(&mut self, id: &str) {
        self.ledger.borrow_mut().unload(id.to_owned());
        let wanted = proto::QueueUnloadRequest {
            conditions: only(id),
            freeze: self.dice.chance(500),
            partial: true,
        };
        let answer: Result<proto::QueueUnloadResponse, _> = self.console.ask(b'J', &wanted).await;
        self.trace
            .note(format!("operator: unload {id}: {answer:?}"));
        if let Ok(answer) = answer {
            let paths = answer.hqfpaths.into_iter().map(PathBuf::from);
            self.files.borrow_mut().extend(paths);
        }
    }

    /// Puts a message back from its file.
    async fn load(&mut self, path: &Path) {
        let bytes = match read_file(&self.disk, path, LONGEST) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() == std::io::ErrorKind::NotFound {
                    let text = format!("the file {} has gone", path.display());
                    self.ledger.borrow_mut().wrong.push(text);
                }
                return;
            }
        };
        let wanted = proto::QueueImportRequest {
            data: Some(import::Data {
                form: Some(import::data::Form::Hqf(bytes)),
            }),
            ..proto::QueueImportRequest::default()
        };
        let answer: Result<proto::QueueImportResponse, _> = self.console.ask(b'E', &wanted).await;
        self.trace
            .note(format!("operator: load {}: {answer:?}", path.display()));
        let known = matches!(&answer, Err(text) if text.contains("is in the queue already"));
        if answer.is_ok() || known {
            self.files.borrow_mut().retain(|file| file != path);
            let _ = self.disk.unlink(path);
        }
    }

    /// Puts everything back that lies in a file, of what the machine told and of what it did not come to tell.
    pub async fn load_all(mut self) {
        let entries = self.disk.list(Path::new(FOLDER)).unwrap_or_default();
        let names = entries.into_iter().map(|entry| entry.name);
        let items = names.filter(|name| name.to_string_lossy().ends_with(".item"));
        let mut paths: Vec<PathBuf> = items.map(|name| Path::new(FOLDER).join(name)).collect();
        for known in self.files.borrow().iter() {
            if !paths.contains(known) {
                paths.push(known.clone());
            }
        }
        for path in paths {
            self.load(&path).await;
        }
    }
}

fn moved(to: update::r#move::To) -> update::Task {
    update::Task::Move(update::Move {
        to: Some(to),
        ..update::Move::default()
    })
}
