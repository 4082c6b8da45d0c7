-- Reads sagas. ARGV: '1' for whole ones, '0' for records only. KEYS: of each saga its record, its log, its snapshot.
local sagas = {}
for key = FIRST, #KEYS, 3 do
    sagas[#sagas + 1] = read(KEYS[key], KEYS[key + 1], KEYS[key + 2], ARGV[1] == '1')
end
return sagas
