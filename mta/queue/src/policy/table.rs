//! Which of many conditions fit: found by look-ups, not by asking each.
//!
//! Conditions of one *shape* (which fields, and for each whether a value, a domain above it, a network
//! of some length or a group is named) stand in one hash table. To find those that fit, the values are
//! brought into each shape that occurs and looked up: the cost grows with the number of shapes, which
//! is small, and not with the number of conditions. Conditions with regular expressions, or with very
//! many alternatives, are asked one by one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::IpNet;

use super::compiled::{KeyPart, PolicyError, matcher};
use crate::gate::{Field, FieldSet};
use crate::matcher::{Lists, Matcher, Pattern};
use crate::text::Text;

/// More alternatives than this and a condition is asked itself.
const MOST_ALTERNATIVES: usize = 256;

/// How a condition names the value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Exact,
    /// By a domain of so many labels above it.
    Below(usize),
    /// By its network.
    Network {
        v4: bool,
        length: u8,
    },
    Group,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Text(Text),
    Network(IpNet),
}

type Shape = Box<[(Field, Form)]>;
type Parts = Box<[Part]>;

/// Values and lists of fields, the lists resolved.
pub(super) type Resolved = Vec<(Field, Vec<Pattern>)>;

/// Conditions by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    shapes: HashMap<Shape, HashMap<Parts, BTreeSet<u64>>>,
    asked: BTreeMap<u64, Vec<(Field, Matcher)>>,
    places: HashMap<u64, Vec<(Shape, Parts)>>,
    fields: FieldSet,
}

/// Which of several that fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choose {
    /// The one with the lowest number.
    First,
    /// The one with the highest number.
    Last,
}

/// Puts the contents of lists in their place.
pub(super) fn resolved(
    when: &[(Field, Vec<Pattern>)],
    lists: &Lists,
) -> Result<Resolved, PolicyError> {
    let each = when.iter().map(|(field, patterns)| {
        let mut all = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            match pattern {
                Pattern::List(name) => {
                    let list = lists.entries(*field, name);
                    let list = list.map_err(|error| PolicyError::Pattern {
                        field: *field,
                        error,
                    })?;
                    all.extend_from_slice(list);
                }
                other => all.push(other.clone()),
            }
        }
        Ok((*field, all))
    });
    each.collect()
}

impl Table {
    /// Adds a condition: all of its fields must fit, each by one of its patterns.
    ///
    /// # Errors
    /// Its regular expressions cannot be used.
    pub fn insert(&mut self, number: u64, when: &Resolved) -> Result<(), PolicyError> {
        let alternatives = when
            .iter()
            .try_fold(1usize, |product, (_, patterns)| {
                product.checked_mul(patterns.len())
            })
            .filter(|count| *count <= MOST_ALTERNATIVES);
        let looked_up = |(_, patterns): &(Field, Vec<Pattern>)| {
            let mut patterns = patterns.iter();
            patterns.all(|pattern| !matches!(pattern, Pattern::Regex(_) | Pattern::List(_)))
        };
        for (field, _) in when {
            self.fields = self.fields.with(*field);
        }
        if alternatives.is_none() || !when.iter().all(looked_up) {
            let none = Lists::default();
            let matchers = when
                .iter()
                .map(|(field, patterns)| Ok((*field, matcher(*field, patterns, &none)?)));
            let matchers = matchers.collect::<Result<_, PolicyError>>()?;
            self.asked.insert(number, matchers);
            return Ok(());
        }
        let mut places = vec![(Vec::<(Field, Form)>::new(), Vec::<Part>::new())];
        for (field, patterns) in when {
            let mut longer = Vec::with_capacity(places.len() * patterns.len());
            for (shape, parts) in &places {
                for (form, part) in patterns.iter().filter_map(named) {
                    let mut place = (shape.clone(), parts.clone());
                    place.0.push((*field, form));
                    place.1.push(part);
                    longer.push(place);
                }
            }
            places = longer;
        }
        let places: Vec<(Shape, Parts)> = places
            .into_iter()
            .map(|(shape, parts)| (shape.into(), parts.into()))
            .collect();
        for (shape, parts) in &places {
            let of_shape = self.shapes.entry(shape.clone()).or_default();
            of_shape.entry(parts.clone()).or_default().insert(number);
        }
        self.places.insert(number, places);
        Ok(())
    }

    /// Takes a condition away.
    pub fn remove(&mut self, number: u64) {
        self.asked.remove(&number);
        for (shape, parts) in self.places.remove(&number).unwrap_or_default() {
            let Some(of_shape) = self.shapes.get_mut(&shape) else {
                continue;
            };
            if let Some(numbers) = of_shape.get_mut(&parts) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    of_shape.remove(&parts);
                }
            }
            if of_shape.is_empty() {
                self.shapes.remove(&shape);
            }
        }
    }

    /// The fields that conditions name or named.
    pub fn fields(&self) -> FieldSet {
        self.fields
    }

    /// One that fits these values and is `good`.
    pub fn find(
        &self,
        values: &[(Field, &KeyPart)],
        choose: Choose,
        good: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        let mut best: Option<u64> = None;
        let better = |number: u64, best: Option<u64>| match choose {
            Choose::First => best.is_none_or(|best| number < best),
            Choose::Last => best.is_none_or(|best| number > best),
        };
        let value = |field: Field| {
            let mut values = values.iter();
            values.find(|(of, _)| *of == field).map(|(_, part)| *part)
        };
        for (shape, conditions) in &self.shapes {
            let parts = shape.iter();
            let parts: Option<Parts> = parts
                .map(|(field, form)| in_form(*field, *form, value(*field)?))
                .collect();
            let Some(numbers) = parts.and_then(|parts| conditions.get(&parts)) else {
                continue;
            };
            let found = match choose {
                Choose::First => numbers.iter().find(|number| good(**number)),
                Choose::Last => numbers.iter().rev().find(|number| good(**number)),
            };
            if let Some(number) = found
                && better(*number, best)
            {
                best = Some(*number);
            }
        }
        let fits = |(number, when): &(&u64, &Vec<(Field, Matcher)>)| {
            good(**number)
                && when.iter().all(|(field, matcher)| {
                    let value = value(*field).and_then(KeyPart::value);
                    value.is_some_and(|value| matcher.matches(value))
                })
        };
        let asked = match choose {
            Choose::First => self.asked.iter().find(fits),
            Choose::Last => self.asked.iter().rev().find(fits),
        };
        match asked {
            Some((number, _)) if better(*number, best) => Some(*number),
            _ => best,
        }
    }
}

/// The form and the value by which a pattern is looked up.
fn named(pattern: &Pattern) -> Option<(Form, Part)> {
    Some(match pattern {
        Pattern::Exact(value) => (Form::Exact, Part::Text(value.clone())),
        Pattern::Below(domain) => {
            let dots = domain.as_bytes().iter().filter(|byte| **byte == b'.');
            (Form::Below(dots.count() + 1), Part::Text(domain.clone()))
        }
        Pattern::Network(network) => {
            let form = Form::Network {
                v4: network.addr().is_ipv4(),
                length: network.prefix_len(),
            };
            (form, Part::Network(network.trunc()))
        }
        Pattern::Group(name) => (Form::Group, Part::Text(name.clone())),
        Pattern::Regex(_) | Pattern::List(_) => return None,
    })
}

/// A value in a form, if it has one.
fn in_form(field: Field, form: Form, value: &KeyPart) -> Option<Part> {
    match (form, value) {
        (Form::Exact, KeyPart::Text(text)) if field.is_domain() => Some(Part::Text(domain(text))),
        (Form::Exact, KeyPart::Text(text)) => Some(Part::Text(text.clone())),
        (Form::Below(labels), KeyPart::Text(text)) => {
            let text = domain(text);
            let bytes = text.as_bytes();
            let dots = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'.');
            let (at, _) = dots.rev().nth(labels.checked_sub(1)?)?;
            Some(Part::Text(Text::from(bytes.get(at + 1..)?)))
        }
        (Form::Network { v4, length }, KeyPart::Address(address)) => {
            // One that came over an IPv6 socket is an IPv4 address all the same.
            let address = address.to_canonical();
            let network = (address.is_ipv4() == v4).then(|| IpNet::new(address, length));
            Some(Part::Network(network?.ok()?.trunc()))
        }
        (Form::Group, KeyPart::Group(name)) => Some(Part::Text(name.clone())),
        _ => None,
    }
}

/// A domain as patterns have it: in lower case, without the dot at the end.
fn domain(text: &Text) -> Text {
    let text = text.to_ascii_lowercase();
    match text.as_bytes().strip_suffix(b".") {
        Some(bytes) => Text::from(bytes),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::FieldValue;
    use proptest::prelude::*;

    const FIELDS: [Field; 3] = [Field::RemoteMx, Field::RemoteIp, Field::JobId];

    fn pattern(field: Field) -> BoxedStrategy<String> {
        match field {
            Field::RemoteIp => "(10\\.0\\.0\\.[0-2]|10\\.0\\.[0-1]\\.0/2[34]|::1|@net)".boxed(),
            Field::JobId => "(a|b|/[ab]/|A)".boxed(),
            _ => "((\\*\\.)?(a|b)(\\.a|\\.b)?(\\.test)|/\\^a/|#g|@dom)".boxed(),
        }
    }

    fn condition() -> impl Strategy<Value = Vec<(Field, Vec<String>)>> {
        let one = |field: Field| {
            prop::option::of(prop::collection::vec(pattern(field), 1..3))
                .prop_map(move |list| list.map(|list| (field, list)))
        };
        (one(FIELDS[0]), one(FIELDS[1]), one(FIELDS[2]))
            .prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect())
    }

    fn value() -> impl Strategy<Value = [KeyPart; 3]> {
        let mx = prop_oneof![
            "(a\\.|b\\.){0,3}(a|B)\\.test\\.?".prop_map(|t| KeyPart::Text(t.as_str().into())),
            Just(KeyPart::Group("g".into())),
            Just(KeyPart::None),
        ];
        let ip = prop_oneof![
            (0u8..3, 0u8..4).prop_map(|(c, d)| KeyPart::Address([10, 0, c, d].into())),
            Just(KeyPart::Address("::ffff:10.0.0.1".parse().unwrap())),
            Just(KeyPart::Address("::1".parse().unwrap())),
        ];
        let job = prop_oneof!["[abA]".prop_map(|t| KeyPart::Text(t.as_str().into()))];
        (mx, ip, job).prop_map(|(a, b, c)| [a, b, c])
    }

    #[test]
    fn many_conditions_of_a_form_are_one_look_up() {
        let mut table = Table::default();
        for number in 0..10_000 {
            let mx = Pattern::parse(Field::RemoteMx, &format!("mx{number}.test")).unwrap();
            let job = Pattern::parse(Field::JobId, "job").unwrap();
            let when = vec![(Field::RemoteMx, vec![mx]), (Field::JobId, vec![job])];
            table.insert(number, &when).unwrap();
        }
        assert_eq!((table.shapes.len(), table.asked.len()), (1, 0));
        let (mx, job) = ("MX77.test.".into(), "job".into());
        let (mx, job) = (KeyPart::Text(mx), KeyPart::Text(job));
        let values = [(Field::RemoteMx, &mx), (Field::JobId, &job)];
        assert_eq!(table.find(&values, Choose::First, |_| true), Some(77));
    }

    proptest! {
        /// Look-ups give what asking every condition in turn gives.
        #[test]
        fn what_is_found_is_what_asking_each_finds(
            conditions in prop::collection::vec(condition(), 0..12),
            removed in prop::collection::vec(0u64..12, 0..4),
            values in prop::collection::vec(value(), 1..12),
        ) {
            let mut lists = Lists::default();
            lists.add(Field::RemoteIp, "net", ["10.0.0.0/31", "::1"]).unwrap();
            lists.add(Field::RemoteMx, "dom", ["*.b.test", "a.test", "/^b\\./"]).unwrap();
            let mut table = Table::default();
            let mut naive: Vec<(u64, Vec<(Field, Matcher)>)> = Vec::new();
            for (number, condition) in (0..).zip(&conditions) {
                let when: Resolved = condition
                    .iter()
                    .map(|(field, texts)| {
                        let texts = texts.iter().map(|t| Pattern::parse(*field, t).unwrap());
                        (*field, texts.collect())
                    })
                    .collect();
                let matchers = when.iter().map(|(field, patterns)| {
                    (*field, Matcher::new(*field, patterns, &lists).unwrap())
                });
                naive.push((number, matchers.collect()));
                table.insert(number, &resolved(&when, &lists).unwrap()).unwrap();
            }
            for number in removed {
                table.remove(number);
                naive.retain(|(of, _)| *of != number);
            }
            for parts in values {
                let values: Vec<(Field, &KeyPart)> = FIELDS.into_iter().zip(&parts).collect();
                let fits = |when: &[(Field, Matcher)]| when.iter().all(|(field, matcher)| {
                    let part = values.iter().find(|(of, _)| of == field).unwrap().1;
                    let value: Option<FieldValue<'_>> = part.value();
                    value.is_some_and(|value| matcher.matches(value))
                });
                let all: Vec<u64> = naive.iter().filter(|(_, w)| fits(w)).map(|(n, _)| *n).collect();
                prop_assert_eq!(table.find(&values, Choose::First, |_| true), all.first().copied());
                prop_assert_eq!(table.find(&values, Choose::Last, |_| true), all.last().copied());
                let odd = |number: u64| number % 2 == 1;
                let last_odd = all.iter().rev().copied().find(|number| odd(*number));
                prop_assert_eq!(table.find(&values, Choose::Last, odd), last_odd);
            }
            for number in 0..12 {
                table.remove(number);
            }
            prop_assert!(table.shapes.is_empty() && table.places.is_empty());
        }
    }
}
