/**
 * @file HSL, the scripting language of Angarium and of the Halon MTA.
 * @license Apache-2.0 OR MIT
 *
 * The rules follow the grammar in lang/syntax/src/grammar.lalrpop. What is checked after parsing there (targets of
 * assignments, places of `break`, the order of parameters and the like) is accepted here.
 */

/// <reference types="tree-sitter-cli/dsl" />
// @ts-check

/** From the loosest to the tightest. */
const PREC = Object.fromEntries(
  [
    'assign', 'ternary', 'coalesce', 'or', 'and', 'equality', 'relation', 'bit_or', 'bit_xor', 'bit_and', 'concat',
    'shift', 'sum', 'product', 'unary', 'power', 'step', 'postfix',
  ].map((name, level) => [name, level]),
);

/** Operators that group from the left. */
const BINARY = [
  ['or', ['or']],
  ['and', ['and']],
  ['equality', ['==', '!=', '===', '!==', '=~', '!~']],
  ['relation', ['<', '>', '<=', '>=']],
  ['bit_or', ['|']],
  ['bit_xor', ['^']],
  ['bit_and', ['&']],
  ['concat', ['.']],
  ['shift', ['<<', '>>', '>>>']],
  ['sum', ['+', '-']],
  ['product', ['*', '/', '%']],
];

const ASSIGN = ['=', '+=', '-=', '*=', '/=', '%=', '**=', '.=', '??=', '&=', '|=', '^=', '<<=', '>>=', '>>>='];

const KEYWORDS = [
  'and', 'array', 'as', 'barrier', 'break', 'builtin', 'cache', 'case', 'catch', 'class', 'closure', 'constructor',
  'continue', 'default', 'echo', 'else', 'false', 'for', 'foreach', 'forever', 'from', 'function', 'global', 'if',
  'import', 'include', 'include_once', 'isset', 'match', 'none', 'not', 'or', 'private', 'readonly', 'return',
  'static', 'switch', 'throw', 'true', 'try', 'unset', 'while', 'with', 'yield', '__debug',
];

/** One or more. */
const list = (rule) => seq(rule, repeat(seq(',', rule)));
/** Any number, and a comma may stand at the end. */
const sep = (rule) => optional(seq(rule, repeat(seq(',', rule)), optional(',')));

module.exports = grammar({
  name: 'hsl',

  word: ($) => $.name,
  externals: ($) => [$.raw_string],
  extras: ($) => [/[\s\uFEFF]/, $.comment],
  supertypes: ($) => [$._statement, $._expression],
  inline: ($) => [$._path],

  reserved: {
    global: () => KEYWORDS,
    property: () => [],
  },

  conflicts: () => [],

  rules: {
    program: ($) => seq(repeat($._statement), optional(alias($._simple, $.unfinished_statement))),

    comment: () => token(choice(seq('//', /[^\n]*/), seq('/*', /[^*]*\*+([^/*][^*]*\*+)*/, '/'))),

    // ---- Statements -------------------------------------------------------------------------

    _statement: ($) =>
      choice(
        $.simple_statement,
        $.block,
        $.empty_statement,
        $.if_statement,
        $.while_statement,
        $.forever_statement,
        $.for_statement,
        $.foreach_statement,
        $.switch_statement,
        $.try_statement,
        $.barrier_statement,
        $.function_declaration,
        $.class_declaration,
        $.debug_statement,
      ),

    block: ($) => seq('{', repeat($._statement), optional(alias($._simple, $.unfinished_statement)), '}'),
    empty_statement: () => ';',
    simple_statement: ($) => seq($._simple, ';'),

    _simple: ($) =>
      choice(
        $.echo,
        $.return,
        $.break,
        $.continue,
        $.throw,
        $.global,
        $.yield,
        $.include,
        $.import,
        $._expression,
      ),
    echo: ($) => seq('echo', $._expression),
    return: ($) => seq('return', optional($._expression)),
    break: () => 'break',
    continue: () => 'continue',
    throw: ($) => seq('throw', $._expression),
    global: ($) => seq('global', list($.variable)),
    yield: ($) => seq('yield', $._expression, optional(seq('=>', $._expression))),
    include: ($) => seq(choice('include', 'include_once'), field('path', $._path)),
    import: ($) =>
      seq(
        'import',
        choice(
          seq('{', sep($.import_symbol), '}', 'from', field('path', $._path)),
          seq('*', 'as', field('namespace', $.name), 'from', field('path', $._path)),
          seq($.variable, 'from', field('path', $._path), optional(seq('with', field('options', $.array)))),
        ),
      ),
    import_symbol: ($) => seq(choice($.name, $.variable), optional(seq('as', choice($.name, $.variable)))),
    _path: ($) => choice($.string, $.raw_string),

    if_statement: ($) =>
      prec.right(
        seq(
          'if',
          field('condition', $.parenthesized),
          field('then', $._statement),
          optional(seq('else', field('else', $._statement))),
        ),
      ),
    while_statement: ($) => seq('while', field('condition', $.parenthesized), field('body', $._statement)),
    forever_statement: ($) => seq('forever', field('body', $._statement)),
    for_statement: ($) =>
      seq(
        'for',
        '(',
        field('init', optional(list($._expression))),
        ';',
        field('condition', optional($._expression)),
        ';',
        field('step', optional(list($._expression))),
        ')',
        field('body', $._statement),
      ),
    foreach_statement: ($) =>
      seq(
        'foreach',
        '(',
        field('subject', $._expression),
        'as',
        optional(seq(field('key', $._expression), '=>')),
        field('value', $._expression),
        ')',
        field('body', $._statement),
      ),
    switch_statement: ($) => seq('switch', field('subject', $.parenthesized), '{', repeat($.case), '}'),
    case: ($) =>
      seq(
        choice(seq('case', field('value', $._expression)), 'default'),
        ':',
        repeat($._statement),
        optional(alias($._simple, $.unfinished_statement)),
      ),
    try_statement: ($) =>
      seq('try', field('body', $.block), 'catch', '(', field('exception', $.variable), ')', field('handler', $.block)),
    barrier_statement: ($) =>
      seq(
        'barrier',
        field('name', $._expression),
        optional(seq('=>', field('variable', $.variable))),
        field('body', $.block),
      ),
    debug_statement: ($) => seq('__debug', $.array, $._statement),

    // ---- Functions and classes --------------------------------------------------------------

    function_declaration: ($) =>
      seq('function', field('name', $.name), field('parameters', $.parameters), field('body', $.block)),
    parameters: ($) => seq('(', sep($._parameter), ')'),
    _parameter: ($) => choice($.variable, $.default_parameter, $.rest_parameter),
    default_parameter: ($) => seq($.variable, '=', $._expression),
    rest_parameter: ($) => seq('...', $.variable),

    class_declaration: ($) => seq('class', field('name', $.name), field('body', $.class_body)),
    class_body: ($) => seq('{', repeat($._member), '}'),
    _member: ($) => choice(';', $.constructor, $.method, $.member_variable),
    constructor: ($) => seq('constructor', field('parameters', $.parameters), field('body', $.block)),
    modifier: () => choice('private', 'readonly', 'static'),
    method: ($) =>
      seq(
        repeat($.modifier),
        'function',
        field('name', $.name),
        field('parameters', $.parameters),
        field('body', $.block),
      ),
    member_variable: ($) =>
      seq(repeat($.modifier), field('name', $.variable), optional(seq('=', field('value', $._expression))), ';'),

    // ---- Expressions ------------------------------------------------------------------------

    _expression: ($) =>
      choice($.assignment, $.ternary, $.coalesce, $.binary, $.unary, $.power, $.step, $._postfix),

    assignment: ($) => prec.right(PREC.assign, seq(field('target', $._postfix), choice(...ASSIGN), $._expression)),
    ternary: ($) =>
      prec.right(
        PREC.ternary,
        seq(
          field('condition', $._expression),
          '?',
          optional(field('then', $._expression)),
          ':',
          field('else', $._expression),
        ),
      ),
    coalesce: ($) => prec.right(PREC.coalesce, seq($._expression, '??', $._expression)),
    binary: ($) =>
      choice(
        ...BINARY.map(([level, operators]) =>
          prec.left(
            PREC[level],
            seq(field('left', $._expression), field('operator', choice(...operators)), field('right', $._expression)),
          ),
        ),
      ),
    unary: ($) =>
      prec.right(PREC.unary, seq(field('operator', choice('!', 'not', '~', '+', '-', '++', '--')), $._expression)),
    power: ($) => prec.right(PREC.power, seq(choice($.step, $._postfix), '**', $._expression)),
    step: ($) => prec(PREC.step, seq($._postfix, field('operator', choice('++', '--')))),

    _postfix: ($) => choice($._primary, $.append, $.index, $.slice, $.property, $.call),
    append: ($) => prec(PREC.postfix, seq($._postfix, '[', ']')),
    index: ($) => prec(PREC.postfix, seq($._postfix, '[', field('index', $._expression), ']')),
    slice: ($) =>
      prec(
        PREC.postfix,
        seq(
          $._postfix,
          '[',
          optional($._expression),
          ':',
          optional($._expression),
          optional(seq(':', optional($._expression))),
          ']',
        ),
      ),
    property: ($) => prec(PREC.postfix, seq($._postfix, '->', field('name', reserved('property', $.name)))),
    call: ($) => prec(PREC.postfix, seq(field('function', $._postfix), field('arguments', $.arguments))),
    arguments: ($) => seq('(', sep(choice($._expression, $.spread)), ')'),
    spread: ($) => seq('...', $._expression),

    _primary: ($) =>
      choice(
        $.variable,
        $.number,
        $.string,
        $.raw_string,
        $.regex,
        $.boolean,
        $.none,
        $.parenthesized,
        $.array,
        $.array_call,
        $.name,
        $.builtin,
        $.static_access,
        $.function,
        $.cache,
        $.match,
        $.isset,
        $.unset,
      ),
    parenthesized: ($) => seq('(', $._expression, ')'),
    array: ($) => seq('[', sep($._element), ']'),
    array_call: ($) => seq('array', '(', sep($._element), ')'),
    _element: ($) => choice($._expression, $.pair, $.spread),
    pair: ($) => seq(field('key', $._expression), '=>', field('value', $._expression)),
    builtin: ($) => seq('builtin', $.name),
    static_access: ($) => seq(field('class', choice($.name, 'static')), '::', field('member', choice($.name, $.variable))),
    function: ($) =>
      seq(
        'function',
        field('parameters', $.parameters),
        optional(seq('closure', field('captures', $.captures))),
        field('body', $.block),
      ),
    captures: ($) => seq('(', optional(list($.variable)), ')'),
    cache: ($) =>
      seq(
        'cache',
        field('options', $.array),
        field('function', choice($.name, $.builtin, $.static_access)),
        field('arguments', $.arguments),
      ),
    match: ($) => seq('match', field('subject', $.parenthesized), '{', sep($.match_arm), '}'),
    match_arm: ($) => seq(choice(list($._expression), 'default'), '=>', field('value', $._expression)),
    isset: ($) => seq('isset', '(', $._expression, ')'),
    unset: ($) => seq('unset', '(', $._expression, ')'),

    // ---- Words and literals -----------------------------------------------------------------

    name: () => /[A-Za-z_][A-Za-z0-9_]*/,
    variable: () => /\$[A-Za-z_][A-Za-z0-9_]*/,
    boolean: () => choice('true', 'false'),
    none: () => 'none',
    number: () =>
      token(
        choice(
          /0x[0-9a-fA-F]+(_[0-9a-fA-F]+)*/,
          /0o[0-7]+(_[0-7]+)*/,
          /0b[01]+(_[01]+)*/,
          /[0-9]+(_[0-9]+)*(\.[0-9]+(_[0-9]+)*)?/,
        ),
      ),
    regex: () => token(/#\/([^/\\\n]|\\.)+\/[imsuxUX]*/),

    string: ($) =>
      seq('"', repeat(choice($.string_content, $.escape, $.interpolation)), token.immediate('"')),
    string_content: () =>
      choice(token.immediate(prec(1, /[^"\\$]+/)), token.immediate(prec(1, '$'))),
    escape: () => token.immediate(prec(1, /\\([\\"$nrt]|x[0-9a-fA-F]{2})/)),
    interpolation: () =>
      token.immediate(prec(2, choice(/\$[A-Za-z_][A-Za-z0-9_]*/, /\$\{[A-Za-z_][A-Za-z0-9_]*\}/))),
  },
});
