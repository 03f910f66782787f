//! The text form of bytecode, for tests and people.

use std::fmt::Write as _;

use crate::bytecode::{Const, Instr, Part, PathOp, Program, Proto, Step};

/// The listing of a whole program.
#[must_use]
pub fn listing(program: &Program) -> String {
    let mut out = String::new();
    for (index, proto) in program.protos.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        list_proto(&mut out, program, index, proto);
    }
    out
}

/// The listing without the numbers of the lines: equal for two texts of one program.
#[must_use]
pub fn listing_without_lines(program: &Program) -> String {
    let lines = listing(program);
    let lines = lines.lines().map(|line| {
        let number = line.chars().take(4).all(|c| c == ' ' || c.is_ascii_digit());
        line.get(4..).filter(|_| number).unwrap_or(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn list_proto(out: &mut String, program: &Program, index: usize, proto: &Proto) {
    // Writing to a string cannot fail.
    let _ = write!(out, "function {index} {}", proto.name);
    let _ = write!(out, " ({} of {} parameters", proto.required, proto.declared);
    if proto.rest {
        out.push_str(" and rest");
    }
    if proto.captures > 0 {
        let _ = write!(out, ", {} captured", proto.captures);
    }
    let _ = writeln!(out, ", {} registers)", proto.registers);
    for (pc, instr) in proto.code.iter().enumerate() {
        let line = proto
            .place(pc as u32)
            .map_or(0, |span| program.sources.position(span).line);
        let before = pc
            .checked_sub(1)
            .and_then(|pc| proto.place(pc as u32))
            .map_or(0, |span| program.sources.position(span).line);
        let line = if line == before {
            String::new()
        } else {
            line.to_string()
        };
        let _ = write!(out, "{line:>4} {pc:>4}  {:<13}", instr.op.name());
        operands(out, program, proto, *instr);
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
    }
    for handler in &proto.handlers {
        let _ = writeln!(
            out,
            "     try {}..{} -> {} r{}",
            handler.start, handler.end, handler.target, handler.register
        );
    }
}

fn operands(out: &mut String, program: &Program, proto: &Proto, instr: Instr) {
    for letter in instr.op.format().chars() {
        let _ = match letter {
            'a' => write!(out, "r{} ", instr.a),
            'b' => write!(out, "r{} ", instr.b),
            'c' => write!(out, "r{} ", instr.c),
            'd' => write!(out, "{} ", instr.int()),
            'j' => write!(out, "->{} ", instr.d),
            'i' => write!(out, "{} ", instr.imm()),
            '#' => write!(out, "#{} ", instr.b),
            '%' if instr.op == crate::bytecode::Op::Update => {
                write!(out, "{:?} ", PathOp::ALL.get(usize::from(instr.c)).copied())
            }
            '%' => write!(out, "#{} ", instr.c),
            'k' => write!(out, "{} ", constant(program, instr.d)),
            'K' => write!(out, "{} ", constant(program, u32::from(instr.short()))),
            'n' => write!(
                out,
                "${} ",
                program.names.get(instr.d as usize).map_or("?", |name| name)
            ),
            'g' => write!(
                out,
                "${} ",
                program
                    .globals
                    .get(instr.d as usize)
                    .map_or("?", |global| &global.name)
            ),
            'f' => write!(
                out,
                "{} ",
                program
                    .protos
                    .get(instr.d as usize)
                    .map_or("?", |proto| &proto.name)
            ),
            'x' => write!(out, "native {} ", instr.d),
            'p' => write!(out, "{} ", path(program, proto, instr.d)),
            'o' => write!(out, "{} ", parts(program, proto, instr)),
            'l' => match proto.closures.get(instr.d as usize) {
                Some(site) => write!(out, "{} {:?} ", site.function, site.captures),
                None => write!(out, "? "),
            },
            _ => Ok(()),
        };
    }
}

fn path(program: &Program, proto: &Proto, index: u32) -> String {
    let mut out = String::new();
    for step in proto
        .paths
        .get(index as usize)
        .map_or(&[][..], |steps| &**steps)
    {
        let _ = match step {
            Step::Key(register) => write!(out, "[r{register}]"),
            Step::Const(index) => write!(out, "[{}]", constant(program, *index)),
            Step::Append => write!(out, "[]"),
            Step::Property(index) => write!(out, "->{}", constant(program, *index)),
            Step::Slice(register) => write!(out, "[r{register}:]"),
        };
    }
    out
}

fn parts(program: &Program, proto: &Proto, instr: Instr) -> String {
    let parts = proto.joins.get(instr.d as usize);
    let parts = parts.map_or(&[][..], |parts| &**parts);
    let places = u16::from(instr.b)..;
    let texts = places.zip(parts).map(|(place, part)| match part {
        Part::Here => format!("r{place}"),
        Part::Register(register) => format!("r{register}"),
        Part::Const(index) => constant(program, *index),
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn constant(program: &Program, index: u32) -> String {
    program
        .consts
        .get(index as usize)
        .map_or_else(|| "?".to_owned(), text)
}

fn text(value: &Const) -> String {
    match value {
        Const::None => "none".to_owned(),
        Const::Bool(boolean) => boolean.to_string(),
        Const::Number(number) => number.to_string(),
        Const::Str(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        Const::Array(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| match key {
                    Some(key) => format!("{}=>{}", text(key), text(value)),
                    None => text(value),
                })
                .collect();
            format!("[{}]", entries.join(","))
        }
        Const::Regex {
            pattern, modifiers, ..
        } => format!("#/{}/{modifiers}", String::from_utf8_lossy(pattern)),
    }
}
