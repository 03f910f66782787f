//! `ctl config`, `hsl`, `process-stats` and `resolver`.

use std::path::PathBuf;
use std::time::Duration;

use angarium_config::FileSource as _;
use angarium_control::proto::process_stats_response::Metric;
use angarium_control::proto::{self, ProcessStatsResponse, StringMatch, string_match};
use angarium_control::{Message as _, json};
use clap::Subcommand;
use serde_json::Value;

use super::livestage::{self, Livestage};
use super::table::{Table, span};
use super::{Ctl, NONE, pair, value};
use crate::cli::Failure;
use crate::cli::files::SystemFiles;
use crate::cli::terminal::print;
use crate::openmetrics;

/// `ctl config …`
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Read the running configuration and all scripts again
    Reload,
    /// Check another smtpd-app.yaml as a reload would
    Check {
        /// The file
        file: PathBuf,
    },
    /// Another configuration on trial for some of the new connections
    Livestage {
        #[command(subcommand)]
        command: Livestage,
    },
}

/// `ctl hsl …`
#[derive(Debug, Subcommand)]
pub(super) enum Hsl {
    /// Values that scripts share: memory_store() and the like
    Memory {
        #[command(subcommand)]
        command: Memory,
    },
    /// Results kept by the cache statement
    Cache {
        #[command(subcommand)]
        command: Cache,
    },
    /// Hits that rate() counts
    Rate {
        #[command(subcommand)]
        command: Rate,
    },
}

/// `ctl hsl rate …`
#[derive(Debug, Subcommand)]
pub(super) enum Rate {
    /// List the entries that have hits
    List {
        /// Only in this namespace
        #[arg(long)]
        namespace: Option<String>,
        /// Only entries with this text
        #[arg(long)]
        entry: Option<String>,
        /// Only entries with so many hits or more
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        count: u64,
        /// Count the hits of so many seconds; 0: all that are kept
        #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
        interval: f64,
        /// Leave out so many
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        offset: u64,
        /// Show at most so many
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: u64,
    },
    /// Forget hits
    Clear {
        /// Only in this namespace
        #[arg(long)]
        namespace: Option<String>,
        /// Only of this entry
        #[arg(long)]
        entry: Option<String>,
        /// Forget all: needed when neither is given
        #[arg(long, conflicts_with_all = ["namespace", "entry"])]
        all: bool,
    },
}

/// `ctl hsl memory …`
#[derive(Debug, Subcommand)]
pub(super) enum Memory {
    /// Store a value
    Store {
        /// Its key
        key: String,
        /// It, as JSON
        #[arg(value_name = "JSON")]
        content: String,
    },
    /// List the keys
    List {
        /// Only keys with this text, or /…/
        key: Option<String>,
        /// Leave out so many
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        offset: u64,
        /// Show at most so many
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: u64,
    },
    /// Print a value as JSON
    Fetch {
        /// Its key
        key: String,
    },
    /// Remove a value
    Delete {
        /// Its key
        key: String,
        /// Print it
        #[arg(long)]
        r#return: bool,
    },
}

/// `ctl hsl cache …`
#[derive(Debug, Subcommand)]
pub(super) enum Cache {
    /// List the caches and what they did
    List,
    /// Forget results
    Clear {
        /// Only in this namespace
        #[arg(long)]
        namespace: Option<String>,
        /// Only of this function
        #[arg(long)]
        function: Option<String>,
        /// Only of calls whose N-th argument (from 1) is this JSON value
        #[arg(long, value_name = "N=JSON", value_parser = pair)]
        argument: Vec<(String, String)>,
    },
}

/// `ctl resolver …`
#[derive(Debug, Subcommand)]
pub(super) enum Resolver {
    /// Look a name up as the server does
    Query {
        /// The name
        name: String,
        /// A, AAAA, MX, TXT, PTR, CNAME, TLSA and so on
        #[arg(default_value = "A")]
        r#type: String,
    },
    /// Answers that are kept
    Cache {
        #[command(subcommand)]
        command: ResolverCache,
    },
    /// Read the settings of the resolver again
    Reload,
}

/// `ctl resolver cache …`
#[derive(Debug, Subcommand)]
pub(super) enum ResolverCache {
    /// Forget the answers about a domain, or all
    Clear {
        /// The domain
        domain: Option<String>,
    },
}

pub(super) async fn config(ctl: &mut Ctl, command: Config) -> Result<(), Failure> {
    match command {
        Config::Reload => ctl.tell(b'r', NONE).await,
        Config::Check { file } => {
            let bytes = SystemFiles.read(&file);
            let bytes = bytes.map_err(|error| Failure::of_file("read", &file, &error))?;
            let config = String::from_utf8(bytes)
                .map_err(|_| Failure::Failed(format!("{}: is no UTF-8", file.display())))?;
            let wanted = proto::ConfigCheckRequest { config };
            ctl.tell(b'Y', Some(&wanted)).await
        }
        Config::Livestage { command } => livestage::run(ctl, command).await,
    }
}

pub(super) async fn hsl(ctl: &mut Ctl, command: Hsl) -> Result<(), Failure> {
    match command {
        Hsl::Memory { command } => memory(ctl, command).await,
        Hsl::Cache { command } => cache(ctl, command).await,
        Hsl::Rate { command } => rate(ctl, command).await,
    }
}

async fn rate(ctl: &mut Ctl, command: Rate) -> Result<(), Failure> {
    match command {
        Rate::List {
            namespace,
            entry,
            count,
            interval,
            offset,
            limit,
        } => {
            let wanted = proto::HslRateRequest {
                namespace: namespace.and_then(value),
                entry: entry.and_then(value),
                paging: Some(proto::PagingRequest { offset, limit }),
                conditions: Some(proto::hsl_rate_request::Condition { count, interval }),
            };
            let answer = ctl.ask::<proto::HslRateResponse>(b'i', Some(&wanted));
            let Some(answer) = answer.await? else {
                return Ok(());
            };
            let mut table = Table::new(["namespace", "entry", "hits", "newest"]).right([2]);
            for item in answer.items {
                let newest = Duration::try_from_secs_f64(item.last).map(crate::log::stamp);
                let newest = newest.unwrap_or_default();
                table.row([item.namespace, item.entry, item.total.to_string(), newest]);
            }
            table.print()
        }
        Rate::Clear {
            namespace,
            entry,
            all,
        } => {
            if namespace.is_none() && entry.is_none() && !all {
                let text = "say what is meant: --namespace, --entry or --all";
                return Err(Failure::Usage(text.to_owned()));
            }
            let wanted = proto::HslRateClearRequest {
                namespace: namespace.and_then(value),
                entry: entry.and_then(value),
            };
            let answer = ctl.ask::<proto::HslRateClearResponse>(b'j', Some(&wanted));
            match answer.await? {
                Some(answer) => print(&format!("{} entries forgotten\n", answer.affected)),
                None => Ok(()),
            }
        }
    }
}

async fn memory(ctl: &mut Ctl, command: Memory) -> Result<(), Failure> {
    match command {
        Memory::Store { key, content } => {
            let wanted = proto::HslMemoryStoreRequest {
                key,
                value: content,
                r#return: false,
            };
            match ctl
                .ask::<proto::HslMemoryStoreResponse>(b'z', Some(&wanted))
                .await?
            {
                Some(_) => print("ok\n"),
                None => Ok(()),
            }
        }
        Memory::List { key, offset, limit } => {
            let key = key.map(|key| {
                let inner = key.strip_prefix('/').and_then(|key| key.strip_suffix('/'));
                let (text, kind) = match inner {
                    Some(inner) => (inner.to_owned(), string_match::Type::Regex),
                    None => (key, string_match::Type::Partial),
                };
                StringMatch {
                    value: text,
                    r#type: kind.into(),
                    ..StringMatch::default()
                }
            });
            let wanted = proto::HslMemoryListRequest {
                condition: Some(proto::hsl_memory_list_request::Condition { key }),
                paging: Some(proto::PagingRequest { offset, limit }),
            };
            let answer = ctl
                .ask::<proto::HslMemoryListResponse>(b'K', Some(&wanted))
                .await?;
            let Some(answer) = answer else { return Ok(()) };
            let mut table = Table::new(["key"]);
            answer.keys.iter().for_each(|key| table.row([key.as_str()]));
            table.print()
        }
        Memory::Fetch { key } => {
            let wanted = proto::HslMemoryRequest { key };
            let answer = ctl
                .ask::<proto::HslMemoryResponse>(b'y', Some(&wanted))
                .await?;
            match answer {
                Some(answer) if answer.value.is_empty() => {
                    Err(Failure::Failed(format!("there is no key {}", wanted.key)))
                }
                Some(answer) => print(&format!("{}\n", answer.value)),
                None => Ok(()),
            }
        }
        Memory::Delete { key, r#return } => {
            let wanted = proto::HslMemoryDeleteRequest { key, r#return };
            let answer = ctl
                .ask::<proto::HslMemoryDeleteResponse>(b'A', Some(&wanted))
                .await?;
            match answer {
                Some(answer) if answer.affected == 0 => {
                    Err(Failure::Failed(format!("there is no key {}", wanted.key)))
                }
                Some(answer) if wanted.r#return => print(&format!("{}\n", answer.value)),
                Some(_) => print("ok\n"),
                None => Ok(()),
            }
        }
    }
}

async fn cache(ctl: &mut Ctl, command: Cache) -> Result<(), Failure> {
    match command {
        Cache::List => {
            let answer = ctl.ask::<proto::HslCacheResponse>(b'g', NONE).await?;
            let Some(answer) = answer else { return Ok(()) };
            let titles = [
                "namespace",
                "function",
                "size",
                "maxsize",
                "hits",
                "misses",
                "evicts",
                "waits",
            ];
            let mut table = Table::new(titles).right(2..8);
            for item in answer.items {
                let numbers = [
                    item.size,
                    item.maxsize,
                    item.hits,
                    item.misses,
                    item.evicts,
                    item.waits,
                ];
                let names = [item.namespace, item.function];
                table.row(
                    names
                        .into_iter()
                        .chain(numbers.map(|number| number.to_string())),
                );
            }
            table.print()
        }
        Cache::Clear {
            namespace,
            function,
            argument,
        } => {
            let mut arguments = std::collections::BTreeMap::new();
            for (place, json) in argument {
                let place = place.parse::<u64>().ok().filter(|place| *place > 0);
                let wrong = || Failure::Usage("--argument: N is a number from 1".to_owned());
                arguments.insert(place.ok_or_else(wrong)?, json);
            }
            let wanted = proto::HslCacheClearRequest {
                namespace: namespace.and_then(value),
                function: function.and_then(value),
                arguments,
            };
            match ctl
                .ask::<proto::HslCacheClearResponse>(b'h', Some(&wanted))
                .await?
            {
                Some(answer) => print(&format!("{} buckets cleared\n", answer.affected)),
                None => Ok(()),
            }
        }
    }
}

pub(super) async fn resolver(ctl: &mut Ctl, command: Resolver) -> Result<(), Failure> {
    match command {
        Resolver::Query { name, r#type } => {
            let wanted = proto::ResolverQueryRequest { name, r#type };
            let answer = ctl
                .ask::<proto::ResolverQueryResponse>(b'X', Some(&wanted))
                .await?;
            let Some(answer) = answer else { return Ok(()) };
            answer
                .records
                .iter()
                .try_for_each(|record| print(&format!("{record}\n")))
        }
        Resolver::Cache {
            command: ResolverCache::Clear { domain },
        } => {
            let wanted = proto::ResolverCacheClearRequest {
                domain: domain.and_then(value),
            };
            let answer = ctl.ask::<proto::ResolverCacheClearResponse>(b'C', Some(&wanted));
            match answer.await? {
                Some(answer) => print(&format!("{} answers forgotten\n", answer.affected)),
                None => Ok(()),
            }
        }
        Resolver::Reload => ctl.tell(b'k', NONE).await,
    }
}

pub(super) async fn process_stats(ctl: &mut Ctl, openmetrics: bool) -> Result<(), Failure> {
    let answer = ctl.ask::<ProcessStatsResponse>(b'q', NONE).await?;
    let Some(answer) = answer else { return Ok(()) };
    if openmetrics {
        return print(&openmetrics::page(&answer));
    }
    let mut table = Table::new(["counter", "value"]).right([1]);
    let (metrics, histograms) = (answer.metrics.clone(), answer.histograms.clone());
    let counters = ProcessStatsResponse {
        metrics: Vec::new(),
        histograms: Vec::new(),
        ..answer
    };
    let json = json::to_whole_json("ProcessStatsResponse", &counters.encode_to_vec());
    rows(&mut table, "", &json.map_err(super::failed)?);
    for metric in histograms.iter().chain(&metrics) {
        metric_rows(&mut table, metric);
    }
    table.print()
}

/// The values of a metric: those of a histogram are how many there were and their sum.
fn metric_rows(table: &mut Table, metric: &Metric) {
    for sample in &metric.samples {
        let labels = sample.labels.iter();
        let labels: Vec<String> = labels
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let name = match labels.is_empty() {
            true => metric.name.clone(),
            false => format!("{}{{{}}}", metric.name, labels.join(",")),
        };
        if metric.r#type == "histogram" {
            table.row([format!("{name}.count"), sample.count.to_string()]);
            table.row([format!("{name}.sum"), format!("{:.3}", sample.sum)]);
        } else {
            table.row([name, sample.value.to_string()]);
        }
    }
}

/// One row for each value, named by its path. The message has few levels.
fn rows(table: &mut Table, path: &str, value: &Value) {
    let below = |name: &str| match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    };
    match value {
        Value::Object(map) if path == "process.version" => {
            let part = |name: &str| map.get(name).and_then(Value::as_u64).unwrap_or(0);
            let version = ["major", "minor", "patch"].map(|name| part(name).to_string());
            table.row([path, &version.join(".")]);
        }
        Value::Object(map) => {
            for (name, value) in map {
                rows(table, &below(name), value);
            }
        }
        Value::Array(list) => {
            for (place, value) in list.iter().enumerate() {
                let name = ["serverid", "id"]
                    .iter()
                    .find_map(|key| value.get(*key)?.as_str());
                let name = name.map_or_else(|| place.to_string(), str::to_owned);
                rows(table, &below(&name), value);
            }
        }
        // The lists are named by these already.
        Value::String(_)
            if [".serverid", ".id", ".threadid"]
                .iter()
                .any(|end| path.ends_with(end)) => {}
        Value::String(text) => table.row([path, text]),
        Value::Number(number) if path == "process.runtime" => {
            table.row([path, &span(number.as_f64().unwrap_or(0.0))]);
        }
        other => table.row([path, &other.to_string()]),
    }
}
