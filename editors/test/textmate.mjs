// Compares what the TextMate grammar makes of scripts with what the lexer says.
//
// Standard input: {"samples": [{name, text (base64), tokens: [[class, start, end], …]}, …], "show": text (base64)}.
// Standard output: {"wrong": ["name:line: …", …], "tokens": how many were compared, "shown": the scopes of `show`}.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import oniguruma from 'vscode-oniguruma';
import textmate from 'vscode-textmate';

const require = createRequire(import.meta.url);
const grammarPath = new URL('../textmate/hsl.tmLanguage.json', import.meta.url);

await oniguruma.loadWASM(readFileSync(require.resolve('vscode-oniguruma/release/onig.wasm')).buffer);
const registry = new textmate.Registry({
  onigLib: Promise.resolve({
    createOnigScanner: (patterns) => new oniguruma.OnigScanner(patterns),
    createOnigString: (text) => new oniguruma.OnigString(text),
  }),
  loadGrammar: async () => textmate.parseRawGrammar(readFileSync(grammarPath, 'utf8'), 'hsl.tmLanguage.json'),
});
const grammar = await registry.loadGrammar('source.hsl');

/** The scopes of every piece of a text, with offsets in bytes: every byte is read as one character. */
function pieces(base64) {
  const lines = Buffer.from(base64, 'base64').toString('latin1').split('\n');
  const all = [];
  let state = textmate.INITIAL;
  let offset = 0;
  for (const line of lines) {
    const result = grammar.tokenizeLine(line, state);
    state = result.ruleStack;
    for (const token of result.tokens) {
      const end = Math.min(token.endIndex, line.length);
      if (token.startIndex < end) {
        all.push({
          start: offset + token.startIndex,
          end: offset + end,
          text: line.slice(token.startIndex, end),
          scopes: token.scopes.slice(1),
        });
      }
    }
    offset += line.length + 1;
  }
  return all;
}

const any = (...starts) => (scopes) => scopes.some((scope) => starts.some((start) => scope.startsWith(start)));
const outside = (check) => (scopes) => check(scopes) && !any('comment.', 'string.', 'invalid.')(scopes);

/** What the scopes of a token of a class must be. */
const classes = {
  comment: any('comment.'),
  string: any('string.quoted.'),
  regex: any('string.regexp.'),
  number: outside(any('constant.numeric.')),
  variable: outside(any('variable.')),
  keyword: outside((scopes) => any('keyword.', 'storage.', 'constant.language.')(scopes) && !any('entity.')(scopes)),
  name: outside((scopes) => any('entity.', 'variable.other.property.')(scopes) && !any('keyword.', 'storage.')(scopes)),
  sign: outside((scopes) => any('keyword.operator.', 'punctuation.')(scopes) && !any('entity.', 'variable.')(scopes)),
};

const input = JSON.parse(readFileSync(0, 'utf8'));
const wrong = [];
let count = 0;
for (const { name, text, tokens } of input.samples) {
  const all = pieces(text);
  const source = Buffer.from(text, 'base64').toString('latin1');
  let first = 0;
  for (const [kind, start, end] of tokens) {
    count += 1;
    while (first < all.length && all[first].end <= start) first += 1;
    for (let at = first; at < all.length && all[at].start < end; at += 1) {
      // A piece without scopes inside a token of several lines is the space before its text.
      if (!classes[kind](all[at].scopes)) {
        const line = source.slice(0, start).split('\n').length;
        wrong.push(`${name}:${line}: ${kind} ${source.slice(start, end)} has ${all[at].scopes.join(' ') || 'no scope'}`);
        break;
      }
    }
  }
}
const shown = pieces(input.show)
  .filter((piece) => piece.text.trim() !== '')
  .map((piece) => `${piece.text.trim()}  ${piece.scopes.join(' ')}`);
process.stdout.write(JSON.stringify({ wrong, tokens: count, shown: shown.join('\n') }));
