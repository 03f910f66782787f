<?php
class Point {
    public $x;
    public $y;
    function __construct($x, $y) { $this->x = $x; $this->y = $y; }
    function move($dx, $dy) { $this->x += $dx; $this->y += $dy; return $this; }
    function norm() { return $this->x * $this->x + $this->y * $this->y; }
}
class Account {
    private $balance = 0;
    private $entries = 0;
    public $at;
    function __construct($at) { $this->at = $at; }
    function deposit($amount) { $this->balance += $amount; $this->entries++; }
    function balance() { return $this->balance; }
    function entries() { return $this->entries; }
}
function run($rounds) {
    $account = new Account(new Point(1, 2));
    $sum = 0;
    for ($i = 0; $i < $rounds; $i++) {
        $point = new Point($i % 10, 1);
        $point->move(1, 2)->move(3, 4);
        $account->deposit($point->norm());
        $account->at->move(1, -1);
        $sum += $account->at->x - $point->y;
    }
    return $sum . " " . $account->balance() . " " . $account->entries();
}
echo run(2800000) . "\n";
