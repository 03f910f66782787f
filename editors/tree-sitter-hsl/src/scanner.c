// Raw strings: a quote, a delimiter, a quote, the text, and the same three again.

#include "tree_sitter/parser.h"

enum TokenType { RAW_STRING };

// A longer delimiter is not read; nobody writes one.
#define MAX_DELIMITER 256

void *tree_sitter_hsl_external_scanner_create(void) { return NULL; }
void tree_sitter_hsl_external_scanner_destroy(void *payload) { (void)payload; }

unsigned tree_sitter_hsl_external_scanner_serialize(void *payload, char *buffer) {
  (void)payload;
  (void)buffer;
  return 0;
}

void tree_sitter_hsl_external_scanner_deserialize(void *payload, const char *buffer, unsigned length) {
  (void)payload;
  (void)buffer;
  (void)length;
}

static bool is_space(int32_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

bool tree_sitter_hsl_external_scanner_scan(void *payload, TSLexer *lexer, const bool *valid_symbols) {
  (void)payload;
  if (!valid_symbols[RAW_STRING]) return false;
  while (is_space(lexer->lookahead)) lexer->advance(lexer, true);
  if (lexer->lookahead != '\'') return false;

  // The opening delimiter, with its first quote but without the second.
  int32_t opener[MAX_DELIMITER + 1];
  unsigned length = 0;
  do {
    if (length > MAX_DELIMITER) return false;
    opener[length++] = lexer->lookahead;
    lexer->advance(lexer, false);
  } while (lexer->lookahead >= 0x21 && lexer->lookahead <= 0x7e && lexer->lookahead != '\'');
  if (lexer->lookahead != '\'') return false;
  lexer->advance(lexer, false);

  // The delimiter has no quote inside, so a mismatch can only go on at the present character if that is a quote.
  unsigned matched = 0;
  while (!lexer->eof(lexer)) {
    int32_t c = lexer->lookahead;
    if (matched == length) {
      if (c == '\'') {
        lexer->advance(lexer, false);
        lexer->mark_end(lexer);
        lexer->result_symbol = RAW_STRING;
        return true;
      }
      matched = 0;
    } else if (c == opener[matched]) {
      matched++;
    } else {
      matched = c == '\'' ? 1 : 0;
    }
    lexer->advance(lexer, false);
  }
  return false;
}
