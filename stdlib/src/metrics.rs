//! Metrics of the operator's own: counters, gauges and histograms that scripts move (mta.md 5.9).
//!
//! The configuration declares them by name, `monitor.metrics`; labels are given with each update. All executions of the
//! process share one [`Metrics`]. A reload declares anew and keeps the numbers of what stays as it was.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::to_str;
use angarium_runtime::native::{Args, Cx, FnDecl, Outcome};
use angarium_runtime::value::{Kind, Value};

/// Sets of labels that one metric keeps; further ones are refused.
const MAX_SERIES: usize = 10_000;
/// Labels of one set.
const MAX_LABELS: usize = 32;
/// Bytes of one set's names and values.
const MAX_LABEL_BYTES: usize = 4096;

/// What a metric counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Kinds {
    /// Only grows.
    Counter,
    /// Grows and falls.
    Gauge,
    /// Counts how many values are at most as large as each of these bounds, which ascend.
    Histogram(Vec<f64>),
}

/// The declaration of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// Its name.
    pub name: String,
    /// What it counts.
    pub kind: Kinds,
    /// What it means, for people.
    pub help: String,
}

/// Names and values of labels, ordered by name.
pub type Labels = BTreeMap<String, String>;

/// The number of a metric for one set of labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram.
    Histogram {
        /// How many values there were.
        count: u64,
        /// Their sum.
        sum: f64,
        /// How many were at most as large as each bound.
        buckets: Vec<(f64, u64)>,
    },
}

/// A metric with all that it counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The declaration.
    pub declaration: Declaration,
    /// A number for each set of labels, ordered by these.
    pub samples: Vec<(Labels, Sample)>,
}

/// The metrics of a process, an extension of the host in an `Arc`.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<BTreeMap<String, Series>>);

/// The metrics as an extension of the [`Host`](angarium_runtime::host::Host).
pub struct MetricsService(pub std::sync::Arc<Metrics>);

#[derive(Debug)]
struct Series {
    declaration: Declaration,
    values: BTreeMap<Labels, Number>,
}

#[derive(Clone, Debug)]
enum Number {
    Plain(f64),
    Buckets {
        count: u64,
        sum: f64,
        each: Vec<u64>,
    },
}

/// How a number changes.
#[derive(Clone, Copy, Debug)]
enum Change {
    Add(f64),
    Subtract(f64),
    Set(f64),
}

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Series>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes these metrics in place of those before. What keeps its name and kind keeps its numbers.
    pub fn declare(&self, declarations: impl IntoIterator<Item = Declaration>) {
        let mut table = self.lock();
        let mut before = std::mem::take(&mut *table);
        for mut declaration in declarations {
            if let Kinds::Histogram(bounds) = &mut declaration.kind {
                bounds.retain(|bound| bound.is_finite());
                bounds.sort_by(f64::total_cmp);
                bounds.dedup();
            }
            let values = match before.remove(&declaration.name) {
                Some(series) if series.declaration.kind == declaration.kind => series.values,
                _ => BTreeMap::new(),
            };
            let name = declaration.name.clone();
            table.insert(
                name,
                Series {
                    declaration,
                    values,
                },
            );
        }
    }

    /// Everything, by name.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        self.lock()
            .values()
            .map(|series| Family {
                declaration: series.declaration.clone(),
                samples: series
                    .values
                    .iter()
                    .map(|(labels, number)| (labels.clone(), series.sample(number)))
                    .collect(),
            })
            .collect()
    }

    /// Whether the number was changed; none: there is no such metric, it cannot change so, or it has too many
    /// sets of labels.
    fn change(&self, name: &str, labels: Labels, change: Change) -> Option<bool> {
        let mut table = self.lock();
        let series = table.get_mut(name)?;
        let first = series.declaration.kind.check(change)?;
        // The label of the buckets themselves.
        let is_histogram = matches!(series.declaration.kind, Kinds::Histogram(_));
        if is_histogram && labels.contains_key("le") {
            return None;
        }
        if !series.values.contains_key(&labels) && series.values.len() >= MAX_SERIES {
            return None;
        }
        let number = series.values.entry(labels).or_insert(first);
        Some(number.apply(&series.declaration.kind, change))
    }

    fn get(&self, name: &str, labels: &Labels) -> Option<Sample> {
        let table = self.lock();
        let series = table.get(name)?;
        Some(series.sample(series.values.get(labels)?))
    }
}

impl Series {
    fn sample(&self, number: &Number) -> Sample {
        match (number, &self.declaration.kind) {
            (Number::Buckets { count, sum, each }, Kinds::Histogram(bounds)) => {
                let mut total = 0u64;
                let buckets = bounds.iter().zip(each).map(|(bound, count)| {
                    total = total.saturating_add(*count);
                    (*bound, total)
                });
                Sample::Histogram {
                    buckets: buckets.collect(),
                    count: *count,
                    sum: *sum,
                }
            }
            (Number::Plain(number), _) => Sample::Number(*number),
            (Number::Buckets { sum, .. }, _) => Sample::Number(*sum),
        }
    }
}

impl Kinds {
    /// What a set of labels starts with; none if this kind does not change so.
    fn check(&self, change: Change) -> Option<Number> {
        let value = match change {
            Change::Add(value) | Change::Subtract(value) | Change::Set(value) => value,
        };
        if !value.is_finite() {
            return None;
        }
        match (self, change) {
            (Kinds::Counter, Change::Add(value) | Change::Set(value)) if value >= 0.0 => {
                Some(Number::Plain(0.0))
            }
            (Kinds::Gauge, _) => Some(Number::Plain(0.0)),
            (Kinds::Histogram(bounds), Change::Set(_)) => Some(Number::Buckets {
                count: 0,
                sum: 0.0,
                each: vec![0; bounds.len()],
            }),
            _ => None,
        }
    }
}

impl Number {
    fn apply(&mut self, kind: &Kinds, change: Change) -> bool {
        match (self, change) {
            (Number::Plain(number), Change::Add(value)) => *number += value,
            (Number::Plain(number), Change::Subtract(value)) => *number -= value,
            (Number::Plain(number), Change::Set(value)) => {
                if *kind == Kinds::Counter && value < *number {
                    return false;
                }
                *number = value;
            }
            (Number::Buckets { count, sum, each }, Change::Set(value)) => {
                *count = count.saturating_add(1);
                *sum += value;
                if let Kinds::Histogram(bounds) = kind {
                    let place = bounds.partition_point(|bound| *bound < value);
                    if let Some(bucket) = each.get_mut(place) {
                        *bucket = bucket.saturating_add(1);
                    }
                }
            }
            (Number::Buckets { .. }, _) => return false,
        }
        true
    }
}

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain(
        "metrics_increment(name: string, labels: array, value?: number = 1): boolean|none",
        "Adds to a counter or gauge that `monitor.metrics` declares; `labels` are names with values. Gives none for an \
         unknown metric, for a histogram, and where a counter would fall.",
        |cx, args| change(cx, &args, Change::Add(args.number(2, 1.0))),
    )
    .example(r#"metrics_increment("doc_mails", ["tenant" => "a"]) // true"#)
    .since(">5.5"),
    FnDecl::plain(
        "metrics_decrement(name: string, labels: array, value?: number = 1): boolean|none",
        "Subtracts from a gauge that `monitor.metrics` declares. Gives none for anything else.",
        |cx, args| change(cx, &args, Change::Subtract(args.number(2, 1.0))),
    )
    .example(r#"metrics_decrement("doc_mails", []) // none"#)
    .since(">5.5"),
    FnDecl::plain(
        "metrics_set(name: string, labels: array, value: number): boolean|none",
        "Sets a gauge, raises a counter (false where it would fall), or counts a value in a histogram. Gives none for an \
         unknown metric.",
        |cx, args| change(cx, &args, Change::Set(args.number(2, 0.0))),
    )
    .example(r#"metrics_set("doc_size", [], 5) // true"#)
    .since(">5.5"),
    FnDecl::plain(
        "metrics_get(name: string, labels: array): array|none",
        "Gives `value`, or of a histogram `count`, `sum` and `buckets`: for each upper bound how many values were at most \
         as large. Gives none for an unknown metric and for labels that were never used with it.",
        get,
    )
    .example(r#"metrics_get("doc_none", []) // none"#)
    .since(">5.5"),
    FnDecl::plain(
        "stat(name: string, legends: array): none",
        "Older way to count: adds to the counter or gauge `name` for each entry, with the label `legend`. An entry is a \
         legend, which counts 1, or a legend with the number to add.",
        stat,
    )
    .legacy()
    .example(r#"stat("doc_none", ["in"]) // none"#),
];

fn change(cx: &mut Cx<'_>, args: &Args<'_>, change: Change) -> Outcome {
    let (Some(metrics), Some(labels)) = (service(cx), labels(args.get(1))) else {
        return Ok(Value::None);
    };
    cx.charge(20 + labels.len());
    let changed = metrics.change(&name(args), labels, change);
    Ok(changed.map_or(Value::None, Value::Boolean))
}

fn get(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let (Some(metrics), Some(labels)) = (service(cx), labels(args.get(1))) else {
        return Ok(Value::None);
    };
    let Some(sample) = metrics.get(&name(&args), &labels) else {
        return Ok(Value::None);
    };
    let mut array = Array::new();
    match sample {
        Sample::Number(number) => {
            array.insert(Key::from("value"), number.into());
        }
        Sample::Histogram {
            count,
            sum,
            buckets,
        } => {
            cx.reserve_entries(buckets.len())?;
            let mut list = Array::new();
            for (bound, count) in buckets {
                // A fraction as a key would be cut; as text it stays.
                let bound = Key::from_string(to_str(&Value::Number(bound)));
                list.insert(bound, (count as f64).into());
            }
            array.insert(Key::from("count"), (count as f64).into());
            array.insert(Key::from("sum"), sum.into());
            array.insert(Key::from("buckets"), list.into());
        }
    }
    Ok(array.into())
}

fn stat(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Some(metrics) = service(cx) else {
        return Ok(Value::None);
    };
    let name = name(&args);
    for (key, value) in args
        .get(1)
        .as_array()
        .into_iter()
        .flat_map(|list| list.iter())
    {
        cx.charge(20);
        let (legend, by) = match (key.to_value(), value.kind()) {
            (Value::Number(_), Kind::String) => (to_str(&value), 1.0),
            (key, Kind::Number | Kind::Boolean) => {
                (to_str(&key), angarium_runtime::convert::to_number(&value))
            }
            _ => continue,
        };
        if legend.len() <= MAX_LABEL_BYTES {
            let labels = Labels::from([("legend".to_owned(), legend.to_text().into_owned())]);
            metrics.change(&name, labels, Change::Add(by));
        }
    }
    Ok(Value::None)
}

fn service(cx: &Cx<'_>) -> Option<std::sync::Arc<Metrics>> {
    let service = cx.host.extension::<MetricsService>()?;
    Some(std::sync::Arc::clone(&service.0))
}

fn name(args: &Args<'_>) -> String {
    String::from_utf8_lossy(args.bytes(0)).into_owned()
}

/// Labels as given; none if a name cannot be one, a value is no scalar, or there are too many.
fn labels(value: &Value) -> Option<Labels> {
    let mut labels = Labels::new();
    let mut bytes = 0usize;
    for (name, value) in value.as_array()?.iter() {
        let name = to_str(&name.to_value()).to_text().into_owned();
        if !matches!(value.kind(), Kind::String | Kind::Number | Kind::Boolean) || !is_label(&name)
        {
            return None;
        }
        let value = to_str(&value);
        bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
        if labels.len() >= MAX_LABELS || bytes > MAX_LABEL_BYTES {
            return None;
        }
        labels.insert(name, value.to_text().into_owned());
    }
    Some(labels)
}

/// OpenMetrics: a letter or `_`, then letters, digits and `_`; `__` in front is reserved.
fn is_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with("__")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        let metrics = Metrics::default();
        metrics.declare(declarations());
        metrics
    }

    fn declarations() -> Vec<Declaration> {
        let declaration = |name: &str, kind| Declaration {
            name: name.to_owned(),
            kind,
            help: String::new(),
        };
        vec![
            declaration("c", Kinds::Counter),
            declaration("g", Kinds::Gauge),
            declaration("h", Kinds::Histogram(vec![5.0, 1.0, 5.0])),
        ]
    }

    #[test]
    fn a_counter_only_grows_and_a_gauge_moves_both_ways() {
        let metrics = metrics();
        let none = Labels::new;
        assert_eq!(metrics.change("c", none(), Change::Add(2.0)), Some(true));
        assert_eq!(metrics.change("c", none(), Change::Add(-1.0)), None);
        assert_eq!(metrics.change("c", none(), Change::Subtract(1.0)), None);
        assert_eq!(metrics.change("c", none(), Change::Set(1.0)), Some(false));
        assert_eq!(metrics.change("c", none(), Change::Set(7.0)), Some(true));
        assert_eq!(metrics.get("c", &none()), Some(Sample::Number(7.0)));
        assert_eq!(
            metrics.change("g", none(), Change::Subtract(3.0)),
            Some(true)
        );
        assert_eq!(metrics.get("g", &none()), Some(Sample::Number(-3.0)));
        assert_eq!(metrics.change("g", none(), Change::Set(f64::NAN)), None);
        assert_eq!(metrics.change("x", none(), Change::Add(1.0)), None);
    }

    #[test]
    fn a_histogram_counts_values_up_to_each_bound() {
        let metrics = metrics();
        for value in [0.5, 1.0, 3.0, 9.0] {
            assert_eq!(
                metrics.change("h", Labels::new(), Change::Set(value)),
                Some(true)
            );
        }
        assert_eq!(metrics.change("h", Labels::new(), Change::Add(1.0)), None);
        let sample = metrics.get("h", &Labels::new());
        let expected = Sample::Histogram {
            count: 4,
            sum: 13.5,
            buckets: vec![(1.0, 2), (5.0, 3)],
        };
        assert_eq!(sample, Some(expected));
    }

    #[test]
    fn a_new_declaration_keeps_what_it_has_and_forgets_what_it_has_not() {
        let metrics = metrics();
        metrics.change("c", Labels::new(), Change::Add(1.0));
        metrics.change("g", Labels::new(), Change::Add(1.0));
        let mut again = declarations();
        again.remove(1);
        metrics.declare(again);
        assert_eq!(metrics.get("c", &Labels::new()), Some(Sample::Number(1.0)));
        assert_eq!(metrics.change("g", Labels::new(), Change::Add(1.0)), None);
        assert_eq!(metrics.families().len(), 2);
    }

    #[test]
    fn sets_of_labels_are_bounded() {
        let metrics = metrics();
        let with = |value: usize| Labels::from([("a".to_owned(), value.to_string())]);
        for value in 0..MAX_SERIES {
            assert_eq!(
                metrics.change("g", with(value), Change::Add(1.0)),
                Some(true)
            );
        }
        assert_eq!(
            metrics.change("g", with(MAX_SERIES), Change::Add(1.0)),
            None
        );
        assert_eq!(metrics.change("g", with(0), Change::Add(1.0)), Some(true));
    }
}
