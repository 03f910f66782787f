[
  (block)
  (class_body)
  (switch_statement)
  (match)
  (array)
  (arguments)
  (comment)
] @fold
