//! The commands by letter (mta.md 5.2), with the messages that they take and give.
//!
//! Letters are those of the reference product; digits are our own commands.

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its byte.
    pub letter: u8,
    /// What it does, in the words of the command line.
    pub name: &'static str,
    /// The message that it takes; none: it has no body.
    pub request: Option<&'static str>,
    /// The message that it gives; empty: none.
    pub response: &'static str,
    /// Why it is refused, if it is.
    pub refused: Option<&'static str>,
}

const fn works(
    letter: u8,
    name: &'static str,
    request: Option<&'static str>,
    response: &'static str,
) -> Command {
    Command {
        letter,
        name,
        request,
        response,
        refused: None,
    }
}

/// A command whose body, if it has one, is not read.
const fn refused(letter: u8, name: &'static str, has_body: bool, why: &'static str) -> Command {
    Command {
        letter,
        name,
        request: if has_body { Some("") } else { None },
        response: "",
        refused: Some(why),
    }
}

/// Every command.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    works(b'a', "config livestage start", Some("ConfigGreenDeployRequest"), ""),
    works(b'b', "config livestage status", None, "ConfigGreenStatusResponse"),
    works(b'c', "config livestage cancel", None, ""),
    works(b'd', "config livestage poll", Some("HSLBreakPointRequest"), "HSLBreakPointResponse"),
    works(b'e', "config livestage debug", None, "HSLBreakPointResponse"),
    works(b'f', "config livestage continue", None, ""),
    works(b'g', "hsl cache list", None, "HSLCacheResponse"),
    works(b'h', "hsl cache clear", Some("HSLCacheClearRequest"), "HSLCacheClearResponse"),
    works(b'i', "hsl rate list", Some("HSLRateRequest"), "HSLRateResponse"),
    works(b'j', "hsl rate clear", Some("HSLRateClearRequest"), "HSLRateClearResponse"),
    works(b'k', "resolver reload", None, ""),
    refused(b'n', "license users", false, "Not supported: there is no licence"),
    works(b'o', "queue suspend reload", None, ""),
    works(b'p', "queue policy reload", None, ""),
    works(b'r', "config reload", None, ""),
    works(b'H', "queue delivery reload", None, ""),
    works(b'q', "process-stats", None, "ProcessStatsResponse"),
    works(b's', "queue suspend list", Some("SuspendRequest"), "SuspendResponse"),
    works(b't', "queue suspend add", Some("SuspendAddRequest"), "SuspendAddResponse"),
    works(b'O', "queue suspend update", Some("SuspendUpdateRequest"), "SuspendUpdateResponse"),
    works(b'u', "queue suspend delete", Some("SuspendDeleteRequest"), "SuspendDeleteResponse"),
    works(b'v', "queue policy list", None, "PolicyConditionResponse"),
    works(b'w', "queue policy add", Some("PolicyConditionAddRequest"), "PolicyConditionAddResponse"),
    works(b'P', "queue policy update", Some("PolicyConditionUpdateRequest"), "PolicyConditionUpdateResponse"),
    works(b'x', "queue policy delete", Some("PolicyConditionDeleteRequest"), "PolicyConditionDeleteResponse"),
    works(b'B', "queue policy refill", Some("PolicyRateRefillRequest"), "PolicyRateRefillResponse"),
    works(b'y', "hsl memory fetch", Some("HSLMemoryRequest"), "HSLMemoryResponse"),
    works(b'K', "hsl memory list", Some("HSLMemoryListRequest"), "HSLMemoryListResponse"),
    works(b'z', "hsl memory store", Some("HSLMemoryStoreRequest"), "HSLMemoryStoreResponse"),
    works(b'A', "hsl memory delete", Some("HSLMemoryDeleteRequest"), "HSLMemoryDeleteResponse"),
    works(b'C', "resolver cache clear", Some("ResolverCacheClearRequest"), "ResolverCacheClearResponse"),
    works(b'D', "queue groupby", Some("QueueGroupByRequest"), "QueueGroupByResponse"),
    works(b'E', "queue load", Some("QueueImportRequest"), "QueueImportResponse"),
    works(b'F', "queue list", Some("QueueListRequest"), "QueueListResponse"),
    works(b'G', "queue update", Some("QueueUpdateRequest"), "QueueUpdateResponse"),
    works(b'I', "queue quota", Some("QueueQuotaRequest"), "QueueQuotaResponse"),
    works(b'J', "queue unload", Some("QueueUnloadRequest"), "QueueUnloadResponse"),
    works(b'L', "queue export", Some("QueueExportRequest"), ""),
    refused(b'M', "plugin command", true, "Not supported: native plugins"),
    works(b'N', "server connections list", Some("ServerConnectionsListRequest"), "ServerConnectionsListResponse"),
    works(b'Q', "server connections close", Some("ServerConnectionsCloseRequest"), "ServerConnectionsCloseResponse"),
    works(b'R', "queue connections list", Some("QueueConnectionsListRequest"), "QueueConnectionsListResponse"),
    works(b'S', "queue connections close", Some("QueueConnectionsCloseRequest"), "QueueConnectionsCloseResponse"),
    works(b'T', "queue policy match", Some("PolicyMatchRequest"), "PolicyMatchResponse"),
    works(b'U', "queue policy grouping list", Some("PolicyGroupingListRequest"), "PolicyGroupingListResponse"),
    works(b'V', "queue policy grouping show", Some("PolicyGroupingRequest"), "PolicyGroupingResponse"),
    works(b'W', "trace smtp", Some("TraceSMTPRequest"), ""),
    works(b'X', "resolver query", Some("ResolverQueryRequest"), "ResolverQueryResponse"),
    works(b'Y', "config check", Some("ConfigCheckRequest"), ""),
    refused(b'Z', "history list", true, "Not supported: the store of past messages"),
    works(b'1', "queue why", Some("QueueWhyRequest"), "QueueWhyResponse"),
    works(b'2', "queue audit", None, "QueueAuditResponse"),
];

impl Command {
    /// The command with this letter.
    #[must_use]
    pub fn of(letter: u8) -> Option<&'static Command> {
        COMMANDS.iter().find(|command| command.letter == letter)
    }

    /// Whether a message follows the letter.
    #[must_use]
    pub fn has_body(letter: u8) -> bool {
        Command::of(letter).is_some_and(|command| command.request.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_letter_and_name_stands_once_and_its_messages_exist() {
        for (place, command) in COMMANDS.iter().enumerate() {
            let rest = &COMMANDS[place + 1..];
            assert!(
                rest.iter()
                    .all(|other| other.letter != command.letter && other.name != command.name),
                "{}",
                command.name
            );
            for message in command.request.into_iter().chain([command.response]) {
                assert!(
                    message.is_empty() || crate::json::knows(message),
                    "{message}"
                );
            }
        }
    }
}
