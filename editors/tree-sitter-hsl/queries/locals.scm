[
  (function_declaration)
  (function)
  (method)
  (constructor)
] @local.scope

(parameters (variable) @local.definition.parameter)
(default_parameter . (variable) @local.definition.parameter)
(rest_parameter (variable) @local.definition.parameter)
(captures (variable) @local.definition.var)
(global (variable) @local.definition.var)
(assignment target: (variable) @local.definition.var)
(foreach_statement key: (variable) @local.definition.var)
(foreach_statement value: (variable) @local.definition.var)
(function_declaration name: (name) @local.definition.function)
(class_declaration name: (name) @local.definition.type)
(variable) @local.reference
(name) @local.reference
