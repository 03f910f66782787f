//! Values against models: copies are never seen to be shared, Map and Set are what they say.
#![allow(clippy::unwrap_used, reason = "what fails here is a broken test")]

use std::collections::HashMap;

use angarium_runtime::Limits;
use angarium_sandbox::script;
use proptest::prelude::*;

fn lines(text: &str) -> Vec<String> {
    let ran = script::run(text.as_bytes(), &HashMap::new(), Limits::default())
        .unwrap_or_else(|refused| panic!("{refused}\n{text}"));
    assert!(ran.result.is_ok(), "{:?}\n{text}", ran.result);
    ran.lines
}

/// A key: a number or a letter.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Key {
    Number(i64),
    Letter(char),
}

impl Key {
    fn text(self) -> String {
        match self {
            Key::Number(number) => number.to_string(),
            Key::Letter(letter) => format!("\"{letter}\""),
        }
    }
}

/// A value of the model: copied whole, always.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    Number(i64),
    Array(Vec<(Key, Model)>),
}

impl Model {
    fn entries(&mut self) -> Option<&mut Vec<(Key, Model)>> {
        match self {
            Model::Array(entries) => Some(entries),
            Model::Number(_) => None,
        }
    }

    fn get(&mut self, key: Key) -> Option<&mut Model> {
        let entries = self.entries()?;
        entries
            .iter_mut()
            .find_map(|(of, value)| (*of == key).then_some(value))
    }

    fn set(&mut self, key: Key, value: Model) {
        match self.get(key) {
            Some(place) => *place = value,
            None => self.entries().unwrap().push((key, value)),
        }
    }

    fn append(&mut self, value: Model) {
        let entries = self.entries().unwrap();
        let highest = entries.iter().filter_map(|(key, _)| match key {
            Key::Number(number) => Some(*number),
            Key::Letter(_) => None,
        });
        let key = highest.max().map_or(0, |highest| highest + 1);
        entries.push((Key::Number(key), value));
    }

    fn text(&self) -> String {
        match self {
            Model::Number(number) => number.to_string(),
            Model::Array(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{}=>{}", key.text(), value.text()))
                    .collect();
                format!("[{}]", entries.join(","))
            }
        }
    }

    fn size(&self) -> usize {
        match self {
            Model::Number(_) => 1,
            Model::Array(entries) => {
                1 + entries.iter().map(|(_, value)| value.size()).sum::<usize>()
            }
        }
    }
}

/// A change of one of the variables `$v[0]` … by name.
#[derive(Clone, Debug)]
enum Change {
    Empty,
    Copy(usize),
    Set(Key, i64),
    SetTo(Key, usize),
    Append(i64),
    AppendOther(usize),
    Remove(Key),
    SetIn(Key, Key, i64),
    AppendIn(Key, i64),
    RemoveIn(Key, Key),
    CountIn(Key, Key),
    Through(usize, i64),
    Closure(i64),
    Each(usize),
    Swap(usize),
    Store,
    Fetch,
}

const NAMES: [&str; 3] = ["$a", "$b", "$c"];

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        (0_i64..4).prop_map(Key::Number),
        prop::char::range('k', 'm').prop_map(Key::Letter)
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let other = || 0_usize..NAMES.len();
    let number = || 0_i64..100;
    prop_oneof![
        Just(Change::Empty),
        other().prop_map(Change::Copy),
        (key(), number()).prop_map(|(k, n)| Change::Set(k, n)),
        (key(), other()).prop_map(|(k, v)| Change::SetTo(k, v)),
        number().prop_map(Change::Append),
        other().prop_map(Change::AppendOther),
        key().prop_map(Change::Remove),
        (key(), key(), number()).prop_map(|(a, b, n)| Change::SetIn(a, b, n)),
        (key(), number()).prop_map(|(k, n)| Change::AppendIn(k, n)),
        (key(), key()).prop_map(|(a, b)| Change::RemoveIn(a, b)),
        (key(), key()).prop_map(|(a, b)| Change::CountIn(a, b)),
        (other(), number()).prop_map(|(v, n)| Change::Through(v, n)),
        number().prop_map(Change::Closure),
        other().prop_map(Change::Each),
        other().prop_map(Change::Swap),
        Just(Change::Store),
        Just(Change::Fetch),
    ]
}

/// Does a change in the model; gives the statement that does it in the script, none when it does not apply.
fn apply(
    vars: &mut [Model; 3],
    stored: &mut Option<Model>,
    at: usize,
    change: &Change,
) -> Option<String> {
    let name = NAMES[at];
    let other = |index: usize| NAMES[index];
    Some(match change {
        Change::Empty => {
            vars[at] = Model::Array(Vec::new());
            format!("{name} = [];")
        }
        Change::Copy(from) => {
            vars[at] = vars[*from].clone();
            format!("{name} = {};", other(*from))
        }
        Change::Set(key, number) => {
            vars[at].set(*key, Model::Number(*number));
            format!("{name}[{}] = {number};", key.text())
        }
        Change::SetTo(key, from) => {
            let value = vars[*from].clone();
            vars[at].set(*key, value);
            format!("{name}[{}] = {};", key.text(), other(*from))
        }
        Change::Append(number) => {
            vars[at].append(Model::Number(*number));
            format!("{name}[] = {number};")
        }
        Change::AppendOther(from) => {
            let value = vars[*from].clone();
            vars[at].append(value);
            format!("{name}[] = {};", other(*from))
        }
        Change::Remove(key) => {
            vars[at].entries()?.retain(|(of, _)| of != key);
            format!("unset({name}[{}]);", key.text())
        }
        Change::SetIn(key, inner, number) => {
            let place = vars[at].get(*key)?;
            place.entries()?;
            place.set(*inner, Model::Number(*number));
            format!("{name}[{}][{}] = {number};", key.text(), inner.text())
        }
        Change::AppendIn(key, number) => {
            let place = vars[at].get(*key)?;
            place.entries()?;
            place.append(Model::Number(*number));
            format!("{name}[{}][] = {number};", key.text())
        }
        Change::RemoveIn(key, inner) => {
            vars[at].get(*key)?.entries()?.retain(|(of, _)| of != inner);
            format!("unset({name}[{}][{}]);", key.text(), inner.text())
        }
        Change::CountIn(key, inner) => {
            let Model::Number(number) = vars[at].get(*key)?.get(*inner)? else {
                return None;
            };
            *number += 7;
            format!("{name}[{}][{}] += 7;", key.text(), inner.text())
        }
        Change::Through(from, number) => {
            let mut value = vars[*from].clone();
            value.append(Model::Number(*number));
            vars[at] = value;
            format!("{name} = put({}, {number});", other(*from))
        }
        Change::Closure(number) => {
            vars[at].append(Model::Number(*number));
            format!("$f = function () closure ({name}) {{ {name}[] = {number}; }}; $f();")
        }
        Change::Each(from) => {
            let values: Vec<Model> = vars[*from]
                .entries()?
                .iter()
                .map(|(_, value)| value.clone())
                .collect();
            values.into_iter().for_each(|value| vars[at].append(value));
            format!("foreach ({} as $x) {{ {name}[] = $x; }}", other(*from))
        }
        Change::Swap(with) => {
            vars.swap(at, *with);
            let with = other(*with);
            format!("[{name}, {with}] = [{with}, {name}];")
        }
        Change::Store => {
            *stored = Some(vars[at].clone());
            format!("memory_store(\"k\", {name});")
        }
        Change::Fetch => {
            vars[at] = stored.clone()?;
            format!("{name} = memory_fetch(\"k\");")
        }
    })
}

/// A step on a Map from letters to numbers, or on a Set of numbers.
#[derive(Clone, Debug)]
enum Step {
    Set(char, i64),
    Get(char),
    Has(char),
    Delete(char),
    Merge(char, i64),
    Clear,
    Store,
}

fn step() -> impl Strategy<Value = Step> {
    let letter = || prop::char::range('a', 'f');
    prop_oneof![
        4 => (letter(), 0_i64..100).prop_map(|(k, n)| Step::Set(k, n)),
        2 => letter().prop_map(Step::Get),
        2 => letter().prop_map(Step::Has),
        2 => letter().prop_map(Step::Delete),
        2 => (letter(), 0_i64..100).prop_map(|(k, n)| Step::Merge(k, n)),
        1 => Just(Step::Clear),
        1 => Just(Step::Store),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn arrays_behave_as_if_every_copy_were_made_at_once(
        changes in prop::collection::vec((0_usize..3, change()), 1..40),
    ) {
        let mut vars = [const { Model::Array(Vec::new()) }; 3];
        let mut stored = None;
        let mut text = "function put($l, $x) { $l[] = $x; return $l; }\n$a = []; $b = []; $c = [];\n".to_owned();
        let mut expected = Vec::new();
        for (at, change) in &changes {
            let Some(statement) = apply(&mut vars, &mut stored, *at, change) else { continue };
            text.push_str(&statement);
            text.push_str(" echo [$a, $b, $c];\n");
            let all: Vec<String> = vars.iter().map(Model::text).collect();
            expected.push(format!("[0=>{},1=>{},2=>{}]", all[0], all[1], all[2]));
            if vars.iter().map(Model::size).sum::<usize>() > 2000 {
                break;
            }
        }
        prop_assert_eq!(lines(&text), expected, "{}", text);
    }

    #[test]
    fn a_map_and_a_set_agree_with_a_list_of_their_entries(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut text = "$m = Map(\"string\", \"number\"); $s = Set(\"string\");\n".to_owned();
        let mut map: Vec<(char, i64)> = Vec::new();
        let mut set: Vec<char> = Vec::new();
        let mut expected: Vec<String> = Vec::new();
        for step in &steps {
            match *step {
                Step::Set(key, number) => {
                    text.push_str(&format!("echo $m->set(\"{key}\", {number}); echo $s->add(\"{key}\");\n"));
                    let known = map.iter_mut().find(|(of, _)| *of == key);
                    expected.push(known.is_none().to_string());
                    match known {
                        Some((_, value)) => *value = number,
                        None => map.push((key, number)),
                    }
                    expected.push((!set.contains(&key)).to_string());
                    if !set.contains(&key) {
                        set.push(key);
                    }
                }
                Step::Get(key) => {
                    text.push_str(&format!("echo $m->get(\"{key}\") ?? \"none\";\n"));
                    let found = map.iter().find(|(of, _)| *of == key);
                    expected.push(found.map_or("none".to_owned(), |(_, value)| value.to_string()));
                }
                Step::Has(key) => {
                    text.push_str(&format!("echo $m->has(\"{key}\"); echo $s->has(\"{key}\");\n"));
                    expected.push(map.iter().any(|(of, _)| *of == key).to_string());
                    expected.push(set.contains(&key).to_string());
                }
                Step::Delete(key) => {
                    text.push_str(&format!("echo $m->delete(\"{key}\"); echo $s->delete(\"{key}\");\n"));
                    expected.push(map.iter().any(|(of, _)| *of == key).to_string());
                    expected.push(set.contains(&key).to_string());
                    map.retain(|(of, _)| *of != key);
                    set.retain(|of| *of != key);
                }
                Step::Merge(key, number) => {
                    text.push_str(&format!("echo $m->merge(\"{key}\", {number});\n"));
                    let known = map.iter_mut().find(|(of, _)| *of == key);
                    expected.push(known.is_some().to_string());
                    match known {
                        Some((_, value)) => *value += number,
                        None => map.push((key, number)),
                    }
                }
                Step::Clear => {
                    text.push_str("$m->clear(); $s->clear();\n");
                    map.clear();
                    set.clear();
                }
                // What comes back from shared memory is a table of its own.
                Step::Store => {
                    text.push_str(
                        "memory_store(\"m\", $m); memory_store(\"s\", $s); $m->set(\"z\", 1); $s->add(\"z\");\n\
                         $m = memory_fetch(\"m\"); $s = memory_fetch(\"s\");\n",
                    );
                }
            }
            text.push_str("echo [$m->size(), $s->size()];\n");
            expected.push(format!("[0=>{},1=>{}]", map.len(), set.len()));
        }
        // No order is promised.
        text.push_str(
            "$keys = []; foreach ($m as $k => $v) $keys[] = \"$k=$v\"; \
             echo array_join(array_sort(function ($a, $b) { return $a < $b; }, $keys), \",\");\n\
             echo array_join(array_sort(function ($a, $b) { return $a < $b; }, [...$s->values()]), \",\");\n",
        );
        let mut entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
        entries.sort();
        expected.push(entries.join(","));
        let mut members: Vec<String> = set.iter().map(char::to_string).collect();
        members.sort();
        expected.push(members.join(","));
        prop_assert_eq!(lines(&text), expected, "{}", text);
    }
}
