# Perl's Cache::Memcached::Fast through the proxy: perl fast.pl HOST PORT
use strict;
use warnings;
use Cache::Memcached::Fast;

my ($host, $port) = @ARGV;
my $checks = 0;

sub check {
    my ($what, $holds) = @_;
    $checks++;
    die "$what\n" unless $holds;
}

my $cache = Cache::Memcached::Fast->new({
    servers => ["$host:$port"],
    namespace => 'perl:',
    connect_timeout => 10,
    io_timeout => 10,
    max_failures => 1,
});

check('set', $cache->set('a', 'one'));
check('get', $cache->get('a') eq 'one');
check('a miss', !defined $cache->get('none'));
check('add', !$cache->add('a', 1));
check('replace', !$cache->replace('none', 1));
check('append and prepend', $cache->append('a', '>') && $cache->prepend('a', '<'));
check('what they left', $cache->get('a') eq '<one>');
check('a structure', $cache->set('h', { list => [1, 2, 3] }) && $cache->get('h')->{list}[2] == 3);

my %many = map { ("many:$_" => "value $_") } 1 .. 500;
my $set = $cache->set_multi(map { [$_, $many{$_}] } keys %many);
check('set_multi', 500 == grep { $_ } values %$set);
my $found = $cache->get_multi(keys %many, 'none');
check('get_multi', 500 == keys %$found && !grep { $found->{$_} ne $many{$_} } keys %many);
my $deleted = $cache->delete_multi(keys %many);
check('delete_multi', 500 == grep { $_ } values %$deleted);
check('get_multi of what is gone', 0 == keys %{ $cache->get_multi(keys %many) });

check('incr', $cache->set('n', 5) && $cache->incr('n', 3) == 8);
check('decr', $cache->decr('n', 100) == 0);
check('incr of nothing', !$cache->incr('none'));

$cache->set('c', 'first');
my $token = $cache->gets('c');
check('gets', $token->[1] eq 'first');
check('cas', $cache->cas('c', $token->[0], 'second'));
check('cas with an old token', !$cache->cas('c', $token->[0], 'third'));
check('what cas left', $cache->get('c') eq 'second');

check('touch', $cache->touch('c', 1000));
check('touch of nothing', !$cache->touch('none', 1000));
check('gat', 'second' eq $cache->gat(1000, 'c'));
my $large = "0123456789abcdef\r\n" x 50_000;
check('a large set', $cache->set('large', $large));
check('a large get', $cache->get('large') eq $large);
check('delete', $cache->delete('c') && !defined $cache->get('c'));
check('server_versions', 1 == keys %{ $cache->server_versions });

# without a wish for the result these are quiet
$cache->set("quiet:$_", $_) for 1 .. 100;
$cache->nowait_push;
check('quiet sets', $cache->get('quiet:100') == 100);
print "$checks checks\n";
