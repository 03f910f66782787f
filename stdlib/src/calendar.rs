//! Formatting and reading of times by strftime directives, over plain civil arithmetic.

use std::fmt::Write as _;

/// A time zone at one instant.
pub struct Zone {
    /// Seconds to add to UTC.
    pub offset: i32,
    /// The abbreviation.
    pub name: String,
}

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A day broken down in the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: i64,
    /// 1 to 12.
    month: u8,
    /// 1 to 31.
    day: u8,
}

/// The day `days` after 1970-01-01. Years are counted from March so that the leap day comes last.
fn civil_from_days(days: i64) -> Civil {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as u8;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    } as u8;
    Civil {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day,
    }
}

/// Days from 1970-01-01 to a day; the inverse of [`civil_from_days`].
fn days_from_civil(Civil { year, month, day }: Civil) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        2 => 28 + u8::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// ISO 8601 year and week of a day.
fn iso_week(days: i64, year: i64) -> (i64, i64) {
    let weekday = (days + 3).rem_euclid(7); // Monday is 0
    let first = |year| {
        let fourth = days_from_civil(Civil {
            year,
            month: 1,
            day: 4,
        });
        fourth - (fourth + 3).rem_euclid(7)
    };
    let monday = days - weekday;
    if monday < first(year) {
        (year - 1, (monday - first(year - 1)) / 7 + 1)
    } else if monday >= first(year + 1) {
        (year + 1, 1)
    } else {
        (year, (monday - first(year)) / 7 + 1)
    }
}

/// Seconds at most this far from 1970 are broken down; far beyond any date, within 64-bit arithmetic.
const RANGE: i64 = 1 << 55;

/// Formats the instant `unix` seconds after 1970-01-01 UTC, shown in `zone`.
///
/// Directives are those of strftime(3) in the C locale with `%+` and `%v`; `E` and `O` modifiers are ignored, unknown
/// directives are copied. Stops growing beyond 4 KiB: callers refuse far shorter results.
#[must_use]
pub fn format(format: &[u8], unix: i64, zone: &Zone) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, format, unix.clamp(-RANGE, RANGE), zone);
    out
}

fn write(out: &mut Vec<u8>, format: &[u8], unix: i64, zone: &Zone) {
    let local = unix + i64::from(zone.offset);
    let (days, second_of_day) = (local.div_euclid(86_400), local.rem_euclid(86_400));
    let civil = civil_from_days(days);
    let year = civil.year;
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    let weekday = (days + 4).rem_euclid(7) as usize; // Sunday is 0
    let day_of_year = days
        - days_from_civil(Civil {
            year,
            month: 1,
            day: 1,
        });
    let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut at = 0;
    while let Some(byte) = format.get(at) {
        if out.len() > 4096 {
            return;
        }
        at += 1;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let start = at - 1;
        if matches!(format.get(at), Some(b'E' | b'O')) && format.get(at + 1).is_some() {
            at += 1;
        }
        let Some(directive) = format.get(at) else {
            out.extend_from_slice(&format[start..]);
            return;
        };
        at += 1;
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = match directive {
            b'a' => write!(text, "{}", &DAYS[weekday][..3]),
            b'A' => write!(text, "{}", DAYS[weekday]),
            b'b' | b'h' => write!(text, "{}", &MONTHS[usize::from(civil.month) - 1][..3]),
            b'B' => write!(text, "{}", MONTHS[usize::from(civil.month) - 1]),
            b'C' => write!(text, "{:02}", year.div_euclid(100)),
            b'd' => write!(text, "{:02}", civil.day),
            b'e' => write!(text, "{:2}", civil.day),
            b'g' => write!(text, "{:02}", iso_week(days, year).0.rem_euclid(100)),
            b'G' => write!(text, "{}", iso_week(days, year).0),
            b'H' => write!(text, "{hour:02}"),
            b'I' => write!(text, "{hour12:02}"),
            b'j' => write!(text, "{:03}", day_of_year + 1),
            b'k' => write!(text, "{hour:2}"),
            b'l' => write!(text, "{hour12:2}"),
            b'm' => write!(text, "{:02}", civil.month),
            b'M' => write!(text, "{minute:02}"),
            b'n' => writeln!(text),
            b'p' => write!(text, "{}", if hour < 12 { "AM" } else { "PM" }),
            b's' => write!(text, "{unix}"),
            b'S' => write!(text, "{second:02}"),
            b't' => write!(text, "\t"),
            b'u' => write!(text, "{}", if weekday == 0 { 7 } else { weekday }),
            b'U' => write!(text, "{:02}", (day_of_year + 7 - weekday as i64) / 7),
            b'V' => write!(text, "{:02}", iso_week(days, year).1),
            b'w' => write!(text, "{weekday}"),
            b'W' => write!(
                text,
                "{:02}",
                (day_of_year + 7 - (weekday as i64 + 6) % 7) / 7
            ),
            b'y' => write!(text, "{:02}", year.rem_euclid(100)),
            b'Y' => write!(text, "{year}"),
            b'z' => {
                let minutes = zone.offset.abs() / 60;
                write!(
                    text,
                    "{}{:02}{:02}",
                    if zone.offset < 0 { '-' } else { '+' },
                    minutes / 60,
                    minutes % 60
                )
            }
            b'Z' => write!(text, "{}", zone.name),
            b'%' => write!(text, "%"),
            other => {
                match composite(*other) {
                    Some(format) => write(out, format, unix, zone),
                    None => out.extend_from_slice(&format[start..at]),
                }
                continue;
            }
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// The directives that stand for others.
fn composite(directive: u8) -> Option<&'static [u8]> {
    Some(match directive {
        b'c' => b"%a %b %e %H:%M:%S %Y",
        b'D' | b'x' => b"%m/%d/%y",
        b'F' => b"%Y-%m-%d",
        b'r' => b"%I:%M:%S %p",
        b'R' => b"%H:%M",
        b'T' | b'X' => b"%H:%M:%S",
        b'v' => b"%e-%b-%Y",
        b'+' => b"%a %b %e %H:%M:%S %Z %Y",
        _ => return None,
    })
}

/// What a text says about a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// `%s`: the instant itself.
    Unix(i64),
    /// A broken-down time as seconds since 1970 on its own clock, and its offset from UTC when the text has one.
    Civil {
        /// Seconds since 1970-01-01 00:00:00 of the same clock.
        seconds: i64,
        /// `%z`
        offset: Option<i32>,
    },
}

#[derive(Default)]
struct Fields {
    century: Option<i64>,
    year_of_century: Option<i64>,
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: Option<i64>,
    hour12: Option<i64>,
    afternoon: Option<bool>,
    minute: Option<i64>,
    second: Option<i64>,
    offset: Option<i32>,
    unix: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    /// Sunday is 0.
    weekday: Option<i64>,
    week_sunday: Option<i64>,
    week_monday: Option<i64>,
}

/// Reads a time; `today` is now as seconds since 1970 on the clock that the text is read by.
#[must_use]
pub fn parse(text: &[u8], format: &[u8], today: i64) -> Option<Parsed> {
    let mut fields = Fields::default();
    let mut text = text;
    scan(&mut fields, &mut text, format)?;
    fields.resolve(today)
}

/// Takes up to `digits` digits off `text`.
fn number(text: &mut &[u8], digits: usize, low: i64, high: i64) -> Option<i64> {
    let count = text
        .iter()
        .take(digits)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if count == 0 {
        return None;
    }
    let value: i64 = std::str::from_utf8(&text[..count]).ok()?.parse().ok()?;
    *text = &text[count..];
    (low..=high).contains(&value).then_some(value)
}

/// Takes a signed number of any length off `text`.
fn signed(text: &mut &[u8], digits: usize, limit: i64) -> Option<i64> {
    let negative = text.first() == Some(&b'-');
    if matches!(text.first(), Some(b'-' | b'+')) {
        *text = &text[1..];
    }
    let value = number(text, digits, 0, limit)?;
    Some(if negative { -value } else { value })
}

/// Takes one of `names` (or its first three letters) off `text`; its index.
fn name(text: &mut &[u8], names: &[&str]) -> Option<i64> {
    for (index, name) in names.iter().enumerate() {
        for candidate in [*name, &name[..3]] {
            if text
                .get(..candidate.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(candidate.as_bytes()))
            {
                *text = &text[candidate.len()..];
                return Some(index as i64);
            }
        }
    }
    None
}

fn skip_white(text: &mut &[u8]) {
    *text = text.trim_ascii_start();
}

fn scan(fields: &mut Fields, text: &mut &[u8], format: &[u8]) -> Option<()> {
    let mut at = 0;
    while let Some(byte) = format.get(at) {
        at += 1;
        if byte.is_ascii_whitespace() {
            skip_white(text);
            continue;
        }
        if *byte != b'%' {
            *text = text.strip_prefix(&[*byte])?;
            continue;
        }
        if matches!(format.get(at), Some(b'E' | b'O')) {
            at += 1;
        }
        let directive = *format.get(at)?;
        at += 1;
        if !matches!(directive, b'%' | b'n' | b't') {
            skip_white(text);
        }
        match directive {
            b'a' | b'A' => fields.weekday = Some(name(text, &DAYS)?),
            b'b' | b'B' | b'h' => fields.month = Some(name(text, &MONTHS)? + 1),
            b'C' => fields.century = Some(number(text, 2, 0, 99)?),
            b'd' | b'e' => fields.day = Some(number(text, 2, 1, 31)?),
            b'g' => fields.iso_year = Some(two_digit_year(number(text, 2, 0, 99)?)),
            b'G' => fields.iso_year = Some(signed(text, 4, 9999)?),
            b'H' | b'k' => fields.hour = Some(number(text, 2, 0, 23)?),
            b'I' | b'l' => fields.hour12 = Some(number(text, 2, 1, 12)?),
            b'j' => fields.day_of_year = Some(number(text, 3, 1, 366)?),
            b'm' => fields.month = Some(number(text, 2, 1, 12)?),
            b'M' => fields.minute = Some(number(text, 2, 0, 59)?),
            b'n' | b't' => skip_white(text),
            b'p' => fields.afternoon = Some(meridiem(text)? == 1),
            b's' => fields.unix = Some(signed(text, 18, RANGE)?),
            b'S' => fields.second = Some(number(text, 2, 0, 60)?),
            b'u' => fields.weekday = Some(number(text, 1, 1, 7)? % 7),
            b'U' => fields.week_sunday = Some(number(text, 2, 0, 53)?),
            b'V' => fields.iso_week = Some(number(text, 2, 1, 53)?),
            b'w' => fields.weekday = Some(number(text, 1, 0, 6)?),
            b'W' => fields.week_monday = Some(number(text, 2, 0, 53)?),
            b'y' => fields.year_of_century = Some(number(text, 2, 0, 99)?),
            b'Y' => fields.year = Some(signed(text, 4, 9999)?),
            b'z' => fields.offset = Some(zone_offset(text)?),
            b'Z' => {
                let letters = text
                    .iter()
                    .take_while(|byte| byte.is_ascii_alphabetic())
                    .count();
                if letters == 0 {
                    return None;
                }
                if matches!(&text[..letters], b"UTC" | b"GMT" | b"Z") {
                    fields.offset = Some(0);
                }
                *text = &text[letters..];
            }
            b'%' => *text = text.strip_prefix(b"%")?,
            other => scan(fields, text, composite(other)?)?,
        }
    }
    Some(())
}

fn meridiem(text: &mut &[u8]) -> Option<i64> {
    let head = text.get(..2)?;
    let index = [b"AM", b"PM"]
        .iter()
        .position(|name| head.eq_ignore_ascii_case(*name))?;
    *text = &text[2..];
    Some(index as i64)
}

/// `+hhmm`, `+hh:mm`, `+hh` or `Z`.
fn zone_offset(text: &mut &[u8]) -> Option<i32> {
    if let Some(rest) = text.strip_prefix(b"Z") {
        *text = rest;
        return Some(0);
    }
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    *text = &text[1..];
    if text
        .iter()
        .take(2)
        .filter(|byte| byte.is_ascii_digit())
        .count()
        != 2
    {
        return None;
    }
    let hours = number(text, 2, 0, 23)?;
    let mut rest = text.strip_prefix(b":").unwrap_or(text);
    let minutes = if rest
        .iter()
        .take(2)
        .filter(|byte| byte.is_ascii_digit())
        .count()
        == 2
    {
        let minutes = number(&mut rest, 2, 0, 59)?;
        *text = rest;
        minutes
    } else {
        0
    };
    Some((sign * (hours * 3600 + minutes * 60)) as i32)
}

/// POSIX: 69 to 99 are 1969 to 1999.
fn two_digit_year(year: i64) -> i64 {
    if year < 69 { 2000 + year } else { 1900 + year }
}

impl Fields {
    fn resolve(&self, today: i64) -> Option<Parsed> {
        if let Some(unix) = self.unix {
            return Some(Parsed::Unix(unix));
        }
        let now = civil_from_days(today.div_euclid(86_400));
        let year = match (self.year, self.century, self.year_of_century) {
            (Some(year), _, _) => Some(year),
            (None, Some(century), year) => Some(century * 100 + year.unwrap_or(0)),
            (None, None, Some(year)) => Some(two_digit_year(year)),
            (None, None, None) => None,
        };
        let days = if let Some(day_of_year) = self.day_of_year {
            let year = year.unwrap_or(now.year);
            if day_of_year == 366 && !is_leap(year) {
                return None;
            }
            days_from_civil(Civil {
                year,
                month: 1,
                day: 1,
            }) + day_of_year
                - 1
        } else if let (None, None, Some(week)) = (self.month, self.day, self.iso_week) {
            let year = self.iso_year.or(year).unwrap_or(now.year);
            let fourth = days_from_civil(Civil {
                year,
                month: 1,
                day: 4,
            });
            let monday = fourth - (fourth + 3).rem_euclid(7);
            monday + (week - 1) * 7 + (self.weekday.unwrap_or(1) + 6) % 7
        } else if let (None, None, Some((week, first))) = (
            self.month,
            self.day,
            self.week_sunday
                .map(|week| (week, 0))
                .or(self.week_monday.map(|week| (week, 1))),
        ) {
            let new_year = days_from_civil(Civil {
                year: year.unwrap_or(now.year),
                month: 1,
                day: 1,
            });
            let offset = (7 + first - (new_year + 4).rem_euclid(7)) % 7;
            new_year + offset + (week - 1) * 7 + (self.weekday.unwrap_or(first) + 7 - first) % 7
        } else {
            let civil = Civil {
                year: year.unwrap_or(now.year),
                month: self.month.map_or(now.month, |month| month as u8),
                day: self.day.map_or(now.day, |day| day as u8),
            };
            let last = days_in_month(civil.year, civil.month);
            if civil.day > last {
                // Today's day of the month may not exist in a month that the text names; a day of the text must.
                if self.day.is_some() {
                    return None;
                }
                days_from_civil(Civil { day: last, ..civil })
            } else {
                days_from_civil(civil)
            }
        };
        let hour = match (self.hour, self.hour12, self.afternoon) {
            (Some(hour), _, _) => hour,
            (None, Some(hour), afternoon) => {
                hour % 12 + if afternoon == Some(true) { 12 } else { 0 }
            }
            (None, None, _) => 0,
        };
        let seconds =
            days * 86_400 + hour * 3600 + self.minute.unwrap_or(0) * 60 + self.second.unwrap_or(0);
        Some(Parsed::Civil {
            seconds,
            offset: self.offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(form: &str, unix: i64) -> String {
        let zone = Zone {
            offset: 0,
            name: "UTC".to_owned(),
        };
        String::from_utf8(format(form.as_bytes(), unix, &zone)).unwrap()
    }

    #[test]
    fn days_and_dates_agree_over_the_calendar() {
        for days in (-1_000_000..1_000_000).step_by(37) {
            assert_eq!(days_from_civil(civil_from_days(days)), days);
        }
        assert_eq!(
            civil_from_days(0),
            Civil {
                year: 1970,
                month: 1,
                day: 1
            }
        );
        assert_eq!(
            civil_from_days(11_016),
            Civil {
                year: 2000,
                month: 2,
                day: 29
            }
        );
    }

    #[test]
    fn directives_follow_the_c_locale() {
        // Monday 2 January 2006 15:04:05 UTC
        let unix = 1_136_214_245;
        for (form, expected) in [
            (
                "%a, %d %b %Y %H:%M:%S %z",
                "Mon, 02 Jan 2006 15:04:05 +0000",
            ),
            ("%c", "Mon Jan  2 15:04:05 2006"),
            ("%e|%k|%l|%I|%p", " 2|15| 3|03|PM"),
            ("%j %U %W %V %G %g %u %w", "002 01 01 01 2006 06 1 1"),
            ("%v %+ %Z", " 2-Jan-2006 Mon Jan  2 15:04:05 UTC 2006 UTC"),
            (
                "%D %x %X %r %R %T %F",
                "01/02/06 01/02/06 15:04:05 03:04:05 PM 15:04 15:04:05 2006-01-02",
            ),
            ("%C %y %h %n%t%%", "20 06 Jan \n\t%"),
            ("%s %Ey %Od", "1136214245 06 02"),
            ("%Q %", "%Q %"),
        ] {
            assert_eq!(utc(form, unix), expected, "{form}");
        }
        assert_eq!(utc("%G-W%V-%u", 1_104_537_600), "2004-W53-6");
        assert!(!utc("%Y", i64::MAX).is_empty());
    }

    #[test]
    fn texts_are_read_back() {
        let parse =
            |text: &str, form: &str| parse(text.as_bytes(), form.as_bytes(), 86_400 * 10 + 3600);
        let civil = |seconds, offset| Some(Parsed::Civil { seconds, offset });
        assert_eq!(
            parse("13:58:38", "%H:%M:%S"),
            civil(86_400 * 10 + 50_318, None)
        );
        assert_eq!(
            parse(
                "Mon, 02 Jan 2006 15:04:05 -0700",
                "%a, %d %b %Y %H:%M:%S %z"
            ),
            civil(1_136_214_245, Some(-25_200))
        );
        assert_eq!(
            parse("mon,2 JANUARY 2006 trailing", "%A, %d %b %Y"),
            civil(1_136_160_000, None)
        );
        assert_eq!(parse("2006-02-30", "%Y-%m-%d"), None);
        assert_eq!(
            parse("12:30 am", "%I:%M %p"),
            civil(86_400 * 10 + 1800, None)
        );
        assert_eq!(
            parse("12:30 PM", "%I:%M %p"),
            civil(86_400 * 10 + 45_000, None)
        );
        assert_eq!(parse("99999", "%s"), Some(Parsed::Unix(99_999)));
        assert_eq!(parse("x", "%d"), None);
        assert_eq!(parse("2004-W53-6", "%G-W%V-%u"), civil(1_104_537_600, None));
    }
}
