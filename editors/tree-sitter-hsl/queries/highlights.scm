; Later patterns win.

(comment) @comment

(string) @string
(raw_string) @string
(escape) @string.escape
(interpolation) @variable
(regex) @string.regexp
(number) @number
(boolean) @boolean
(none) @constant.builtin

(name) @type
(variable) @variable
((variable) @variable.builtin
  (#any-of? @variable.builtin "$this" "$arguments" "$connection" "$transaction" "$message" "$context"))

(call function: (name) @function.call)
(cache function: (name) @function.call)
(builtin (name) @function.builtin)
(static_access class: (name) @type)
(static_access member: (name) @function.call)
(property name: (name) @property)
(call function: (property name: (name) @function.method.call))
(function_declaration name: (name) @function)
(method name: (name) @function.method)
(class_declaration name: (name) @type.definition)
(parameters (variable) @variable.parameter)
(default_parameter . (variable) @variable.parameter)
(rest_parameter (variable) @variable.parameter)

[
  "if" "else" "switch" "case" "default" "match"
] @keyword.conditional
[
  "for" "foreach" "as" "forever" "while"
] @keyword.repeat
[
  (break) (continue)
] @keyword.repeat
[
  "return" "yield"
] @keyword.return
[
  "try" "catch" "throw"
] @keyword.exception
[
  "import" "include" "include_once" "from" "with"
] @keyword.import
[
  "function" "closure" "constructor"
] @keyword.function
"class" @keyword.type
[
  (modifier) "static" "global" "builtin"
] @keyword.modifier
[
  "and" "or" "not"
] @keyword.operator
[
  "echo" "array" "isset" "unset" "barrier" "cache" "__debug"
] @keyword

[
  "=" "+=" "-=" "*=" "/=" "%=" "**=" ".=" "??=" "&=" "|=" "^=" "<<=" ">>=" ">>>="
  "==" "!=" "===" "!==" "=~" "!~" "<" ">" "<=" ">="
  "+" "-" "*" "/" "%" "**" "." "++" "--" "&" "|" "^" "~" "<<" ">>" ">>>" "!" "?" "??" "..."
] @operator

["(" ")" "[" "]" "{" "}"] @punctuation.bracket
["," ";" ":" "::" "->" "=>"] @punctuation.delimiter
(empty_statement) @punctuation.delimiter
