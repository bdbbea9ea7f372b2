/**
 * The packets of broker and client (both write them with mqtt-packet) without their table of all 65,536 two-byte numbers, which the
 * first packet fills: 8 MiB, for a handful of numbers. Imported for that effect.
 */
import mqttPacket from 'mqtt-packet';

mqttPacket.writeToStream.cacheNumbers = false;
