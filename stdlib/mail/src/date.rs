//! Dates of mail (RFC 5322 §3.3). The time is always given; nothing here asks a clock.

/// Length of what [`format_utc`] gives for the years 1 to 9999.
pub const LENGTH: usize = "Thu, 01 Jan 1970 00:00:00 +0000".len();

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY: i64 = 86_400;
/// First second of the year 1 and last second of 9999.
const RANGE: (i64, i64) = (-62_135_596_800, 253_402_300_799);

/// Formats Unix seconds in UTC: `Thu, 01 Jan 1970 00:00:00 +0000`.
#[must_use]
pub fn format_utc(unix: i64) -> String {
    format(unix, 0)
}

/// Formats Unix seconds at an offset from UTC, in minutes east (clamped to a day).
///
/// Times outside the years 1 to 9999 are moved to the nearest that has a four-digit year.
#[must_use]
pub fn format(unix: i64, offset_minutes: i32) -> String {
    let offset = i64::from(offset_minutes.clamp(-1439, 1439));
    let local = unix.clamp(RANGE.0, RANGE.1) + offset * 60;
    let local = local.clamp(RANGE.0, RANGE.1);
    let days = local.div_euclid(DAY);
    let second = local.rem_euclid(DAY);
    let (year, month, day) = civil(days);
    let name = |list: &'static [&'static str], index: i64| {
        usize::try_from(index)
            .ok()
            .and_then(|i| list.get(i))
            .copied()
            .unwrap_or_default()
    };
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} {}{:02}{:02}",
        name(&DAYS, days.rem_euclid(7)),
        name(&MONTHS, month - 1),
        second / 3600,
        second / 60 % 60,
        second % 60,
        if offset < 0 { '-' } else { '+' },
        offset.abs() / 60,
        offset.abs() % 60,
    )
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Counted in eras of 400 years that start on 1 March, so that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days_and_before_1970() {
        for (unix, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 +0000"),
            (1_136_214_245, "Mon, 02 Jan 2006 15:04:05 +0000"),
            (-1, "Wed, 31 Dec 1969 23:59:59 +0000"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 +0000"),
            (i64::MIN, "Mon, 01 Jan 0001 00:00:00 +0000"),
        ] {
            assert_eq!(format_utc(unix), expected);
            assert_eq!(expected.len(), LENGTH);
        }
    }

    #[test]
    fn an_offset_shifts_the_clock() {
        assert_eq!(format(0, 90), "Thu, 01 Jan 1970 01:30:00 +0130");
        assert_eq!(format(0, -210), "Wed, 31 Dec 1969 20:30:00 -0330");
    }
}
